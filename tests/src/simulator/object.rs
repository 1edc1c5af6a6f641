//! The object with the programs: instructions and tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;

use anyhow::Context as _;
use aya_obj::Object;
use enforcer::kernel::Lifetimes;
use enforcer_ebpf::contract::flow::LIFETIMES;
use enforcer_ebpf::contract::flow_table::groups_for;
use enforcer_ebpf::contract::stage::Stage;
use enforcer_ebpf::contract::table::{self, Limits};

use crate::host::object;

/// An instruction, or the second half of one with 16 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) target: u8,
    pub(super) source: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// Loads 64 bits from the instruction itself; it takes two slots.
pub(super) const LOAD_IMMEDIATE: u8 = 0x18;

/// A table as the object declares it.
pub(super) struct Declared {
    pub(super) name: String,
    /// A number of the kernel's `enum bpf_map_type`.
    pub(super) kind: u32,
    pub(super) key_size: usize,
    pub(super) value_size: usize,
    pub(super) elements: usize,
    /// The initial contents of global data.
    pub(super) data: Vec<u8>,
}

/// Of 250 jiffies a second.
pub(super) const CLOCK_SHIFT: u32 = 8;

/// What was loaded. Instructions name a table by its index.
pub(super) struct Loaded {
    pub(super) code: BTreeMap<String, Vec<Instruction>>,
    pub(super) tables: Vec<Declared>,
}

/// Loads the object for tables of these sizes.
pub(super) fn load(limits: &Limits) -> anyhow::Result<Loaded> {
    let path = object("enforcer-ebpf.o")?;
    let what = || format!("read {}", path.display());
    let mut object = Object::parse(&fs::read(&path).with_context(what)?).with_context(what)?;
    set_globals(&mut object, limits)?;
    let mut maps: Vec<_> = std::mem::take(&mut object.maps).into_iter().collect();
    maps.sort_by(|(a, _), (b, _)| a.cmp(b));
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let numbered = (0..).zip(&maps).map(|(number, (name, map))| (name.as_str(), number, map));
    object.relocate_maps(numbered, &text).context("relocate tables")?;
    object.relocate_calls(&text).context("relocate calls")?;
    let code = object.programs.iter().map(|(name, program)| {
        let function = object.functions.get(&program.function_key());
        let function = function.with_context(|| format!("no code of {name}"))?;
        let code = function.instructions.iter().map(|it| Instruction {
            code: it.code,
            target: it.dst_reg(),
            source: it.src_reg(),
            offset: it.off,
            immediate: it.imm,
        });
        anyhow::Ok((name.clone(), code.collect()))
    });
    let tables = maps.iter().map(|(name, map)| Declared {
        name: name.clone(),
        kind: map.map_type(),
        key_size: map.key_size() as usize,
        value_size: map.value_size() as usize,
        elements: elements(name, map.max_entries(), limits) as usize,
        data: map.data().to_vec(),
    });
    Ok(Loaded { code: code.collect::<Result<_, _>>()?, tables: tables.collect() })
}

/// The settings that the agent chooses; the others have the object's defaults.
fn set_globals(object: &mut Object, limits: &Limits) -> anyhow::Result<()> {
    let groups = groups_for(limits.flows).to_ne_bytes();
    let shift = CLOCK_SHIFT.to_ne_bytes();
    // A bucket is about a second.
    let lifetime = |flags: usize| {
        let stage = Stage::of(u16::try_from(flags).unwrap_or_default());
        u32::try_from(Lifetimes::DEFAULT.of(stage).as_secs()).unwrap_or(u32::MAX / 2)
    };
    let lifetimes: [u32; LIFETIMES] = std::array::from_fn(lifetime);
    let globals = HashMap::from([
        ("AYA_LOG_LEVEL", (&[0_u8][..], true)),
        ("FLOW_GROUPS", (&groups[..], true)),
        ("CLOCK_SHIFT", (&shift[..], true)),
        ("FLOW_LIFETIMES", (bytemuck::cast_slice(&lifetimes), true)),
    ]);
    object.patch_map_data(globals).context("set the programs' settings")
}

/// The number of elements of a table, as the agent chooses it.
fn elements(name: &str, declared: u32, limits: &Limits) -> u32 {
    match name {
        table::TRIE4 => limits.trie4_blocks,
        table::TRIE6_NODES => limits.trie6_nodes,
        table::TRIE6_LEAVES => limits.trie6_leaves,
        table::PORT_SETS => limits.port_sets,
        table::VERDICTS => limits.verdict_blocks,
        table::ENDPOINTS | table::SENDERS | table::COUNTERS | table::STARTS | table::OVER_SHARE => {
            limits.endpoints
        }
        table::FLOW_TAGS4 | table::FLOW_TAGS6 | table::FLOW_ENTRIES4 | table::FLOW_ENTRIES6 => {
            groups_for(limits.flows)
        }
        _ => declared,
    }
}

/// The number of instructions; one of 16 bytes counts once.
pub(super) fn size(code: &[Instruction]) -> usize {
    code.len() - code.iter().filter(|it| it.code == LOAD_IMMEDIATE).count()
}
