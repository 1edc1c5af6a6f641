//! The sizes of the policy's tables that the agent's options may change.

use std::fmt;
use std::str::FromStr;

use enforcer_ebpf::contract::table::{Limits, ROOTS4};

/// The sizes of the tables that policies fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableSizes(Limits);

/// A size: its name, its least and largest value, and its field.
type Size = (&'static str, std::ops::RangeInclusive<u32>, fn(&mut Limits) -> &mut u32);

/// Their names are fields of [`Limits`], which messages about full tables name.
const SIZES: [Size; 5] = [
    ("trie4_blocks", ROOTS4 + 1..=1 << 20, |it| &mut it.trie4_blocks),
    ("trie6_nodes", 64..=1 << 20, |it| &mut it.trie6_nodes),
    ("trie6_leaves", 64..=1 << 22, |it| &mut it.trie6_leaves),
    ("port_sets", 64..=1 << 16, |it| &mut it.port_sets),
    ("verdict_blocks", 64..=1 << 18, |it| &mut it.verdict_blocks),
];

impl TableSizes {
    /// The limits with these sizes; all others have their defaults.
    #[must_use]
    pub fn limits(self) -> Limits {
        self.0
    }
}

/// `name=size` for each table, separated by commas.
impl fmt::Display for TableSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limits = self.0;
        for (number, (name, _, field)) in SIZES.into_iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{name}={}", field(&mut limits))?;
        }
        Ok(())
    }
}

/// `name=size,…`; the other tables have their defaults.
impl FromStr for TableSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Limits::DEFAULT;
        for part in text.split(',') {
            let (name, size) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?}: expected TABLE=N like port_sets=16384"))?;
            let known = SIZES.into_iter().find(|(known, ..)| *known == name);
            let (_, range, field) = known.ok_or_else(|| {
                let names = SIZES.map(|(name, ..)| name).join(", ");
                format!("unknown table {name:?}: expected one of {names}")
            })?;
            let size = size.parse().ok().filter(|size| range.contains(size)).ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("{name}: {size:?} is not a number between {least} and {most}")
            })?;
            *field(&mut limits) = size;
        }
        Ok(Self(limits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        let sizes: TableSizes = "port_sets=16384,verdict_blocks=32768".parse().unwrap();
        assert_eq!(
            sizes.limits(),
            Limits { port_sets: 16_384, verdict_blocks: 32_768, ..Limits::DEFAULT }
        );
        assert_eq!(sizes.to_string().parse(), Ok(sizes));
    }

    #[test]
    fn a_wrong_size_is_explained() {
        let error = |text: &str| text.parse::<TableSizes>().unwrap_err();
        assert!(error("ports=1").contains("expected one of trie4_blocks, trie6_nodes"));
        assert!(error("port_sets").contains("TABLE=N"));
        assert!(error("port_sets=1").contains("between 64 and 65536"));
    }
}
