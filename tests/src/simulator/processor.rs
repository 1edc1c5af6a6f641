//! The instructions (RFC 9669, without atomic operations and signed division, which the programs do
//! not have).

#![expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use super::helpers::{Helpers, TAIL_CALL};
use super::memory::{FRAME, FRAMES, Memory};
use super::object::{Instruction, LOAD_IMMEDIATE};

/// The most instructions of a run: as many as a verifier looks at.
const MOST: u32 = 1_000_000;

/// Calls a helper, or (with a source) a function.
pub(super) const CALL: u8 = 0x85;

/// The programs by name.
pub(super) type Programs = BTreeMap<String, Vec<Instruction>>;

/// Where a function continues after a call: position, registers 6 to 9.
type Caller = (usize, [u64; 4]);

struct Processor<'a> {
    programs: &'a Programs,
    code: &'a [Instruction],
    at: usize,
    registers: [u64; 11],
    callers: Vec<Caller>,
}

/// Runs a program, and those that it calls last; returns the result and the number of executed
/// instructions.
pub(super) fn run(
    programs: &Programs,
    program: &str,
    memory: &mut Memory,
    helpers: &mut Helpers<'_>,
) -> anyhow::Result<(u64, u32)> {
    let mut registers = [0; 11];
    (registers[1], registers[10]) = (Memory::context(), Memory::stack());
    let code = programs.get(program).with_context(|| format!("no program {program}"))?;
    let mut processor = Processor { programs, code, at: 0, registers, callers: Vec::new() };
    for executed in 1..=MOST {
        let at = processor.at;
        let result =
            processor.step(memory, helpers).with_context(|| format!("instruction {at}"))?;
        if let Some(result) = result {
            return Ok((result, executed));
        }
    }
    bail!("no end after {MOST} instructions")
}

impl Processor<'_> {
    /// Executes an instruction; returns the program's result at its end.
    fn step(
        &mut self,
        memory: &mut Memory,
        helpers: &mut Helpers<'_>,
    ) -> anyhow::Result<Option<u64>> {
        let it = *self.code.get(self.at).context("past the end")?;
        self.at += 1;
        let (source, target) = (self.get(it.source)?, self.get(it.target)?);
        let size = [4, 2, 1, 8][usize::from(it.code >> 3 & 3)];
        let address = |base: u64| base.wrapping_add_signed(it.offset.into());
        match (it.code & 7, it.code & 0xe0) {
            (0, _) if it.code == LOAD_IMMEDIATE => {
                let value = self.wide(&it, helpers)?;
                self.set(it.target, value)?;
            }
            (1, 0x60) => self.set(it.target, memory.load(address(source), size)?)?,
            (2, 0x60) => memory.store(address(target), size, extended(it.immediate))?,
            (3, 0x60) => memory.store(address(target), size, source)?,
            (4 | 7, _) => {
                let value = arithmetic(&it, target, source)?;
                self.set(it.target, value)?;
            }
            (5 | 6, _) => return self.jump(&it, [target, source], memory, helpers),
            _ => bail!("the simulator does not know instruction {:#x}", it.code),
        }
        Ok(None)
    }

    fn get(&self, register: u8) -> anyhow::Result<u64> {
        self.registers.get(usize::from(register)).copied().context("no such register")
    }

    fn set(&mut self, register: u8, value: u64) -> anyhow::Result<()> {
        let place = self.registers.get_mut(usize::from(register));
        *place.context("no such register")? = value;
        Ok(())
    }

    /// 64 bits of the instruction, or the address of a table.
    fn wide(&mut self, it: &Instruction, helpers: &Helpers<'_>) -> anyhow::Result<u64> {
        let high = self.code.get(self.at).context("past the end")?.immediate;
        self.at += 1;
        match it.source {
            0 => {
                Ok(u64::from(high.cast_unsigned()) << 32 | u64::from(it.immediate.cast_unsigned()))
            }
            1 => Ok(Helpers::handle(it.immediate)),
            2 => {
                let table = helpers.tables.start(usize::try_from(it.immediate)?)?;
                Ok(table + u64::from(high.cast_unsigned()))
            }
            other => bail!("the simulator does not know immediate {other}"),
        }
    }

    fn jump(
        &mut self,
        it: &Instruction,
        values: [u64; 2],
        memory: &mut Memory,
        helpers: &mut Helpers<'_>,
    ) -> anyhow::Result<Option<u64>> {
        match (it.code, it.source) {
            (CALL, 0) if it.immediate == TAIL_CALL => self.call_last(helpers)?,
            (CALL, 0) => {
                let [_, one, two, three, four, ..] = self.registers;
                self.registers[0] = helpers.call(memory, it.immediate, [one, two, three, four])?;
            }
            (CALL, 1) => self.enter(it.immediate)?,
            (0x95, _) => return Ok(self.leave()),
            _ if taken(it, values)? => self.go(it.offset.into())?,
            _ => {}
        }
        Ok(None)
    }

    fn go(&mut self, by: isize) -> anyhow::Result<()> {
        self.at = self.at.checked_add_signed(by).context("a jump before the beginning")?;
        Ok(())
    }

    /// Continues in another program, with the same context and a new stack.
    fn call_last(&mut self, helpers: &mut Helpers<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(self.callers.is_empty(), "a tail call in a function");
        let [_, _, table, place, ..] = self.registers;
        let name = helpers.part(table, place)?;
        self.code = self.programs.get(name).with_context(|| format!("no program {name}"))?;
        self.at = 0;
        Ok(())
    }

    fn enter(&mut self, by: i32) -> anyhow::Result<()> {
        anyhow::ensure!((self.callers.len() as u64) < FRAMES - 1, "too many calls");
        let [.., six, seven, eight, nine, _] = self.registers;
        self.callers.push((self.at, [six, seven, eight, nine]));
        self.registers[10] += FRAME;
        self.go(isize::try_from(by)?)
    }

    fn leave(&mut self) -> Option<u64> {
        let Some((at, saved)) = self.callers.pop() else { return Some(self.registers[0]) };
        self.at = at;
        self.registers[6..10].copy_from_slice(&saved);
        self.registers[10] -= FRAME;
        None
    }
}

/// A 32-bit immediate as 64 bits.
const fn extended(immediate: i32) -> u64 {
    (immediate as i64).cast_unsigned()
}

fn is_register(it: &Instruction) -> bool {
    it.code & 8 != 0
}

fn arithmetic(it: &Instruction, target: u64, source: u64) -> anyhow::Result<u64> {
    let operand = if is_register(it) { source } else { extended(it.immediate) };
    let is_wide = it.code & 7 == 7;
    if it.code & 0xf0 == 0xd0 {
        anyhow::ensure!(!is_wide, "an unconditional swap");
        return swapped(it, target);
    }
    if is_wide {
        return wide(it.code & 0xf0, target, operand);
    }
    let (low, other) = (target as u32, operand as u32);
    Ok(u64::from(match it.code & 0xf0 {
        0x00 => low.wrapping_add(other),
        0x10 => low.wrapping_sub(other),
        0x20 => low.wrapping_mul(other),
        0x30 => low.checked_div(other).unwrap_or(0),
        0x40 => low | other,
        0x50 => low & other,
        0x60 => low.wrapping_shl(other),
        0x70 => low.wrapping_shr(other),
        0x80 => low.wrapping_neg(),
        0x90 => low.checked_rem(other).unwrap_or(low),
        0xa0 => low ^ other,
        0xb0 => other,
        0xc0 => low.cast_signed().wrapping_shr(other).cast_unsigned(),
        _ => bail!("the simulator does not know instruction {:#x}", it.code),
    }))
}

fn wide(operation: u8, target: u64, operand: u64) -> anyhow::Result<u64> {
    Ok(match operation {
        0x00 => target.wrapping_add(operand),
        0x10 => target.wrapping_sub(operand),
        0x20 => target.wrapping_mul(operand),
        0x30 => target.checked_div(operand).unwrap_or(0),
        0x40 => target | operand,
        0x50 => target & operand,
        0x60 => target.wrapping_shl(operand as u32),
        0x70 => target.wrapping_shr(operand as u32),
        0x80 => target.wrapping_neg(),
        0x90 => target.checked_rem(operand).unwrap_or(target),
        0xa0 => target ^ operand,
        0xb0 => operand,
        0xc0 => target.cast_signed().wrapping_shr(operand as u32).cast_unsigned(),
        _ => bail!("the simulator does not know operation {operation:#x}"),
    })
}

/// Byte order; this machine and the programs have the lowest byte first.
fn swapped(it: &Instruction, value: u64) -> anyhow::Result<u64> {
    Ok(match (it.immediate, is_register(it)) {
        (16, true) => u64::from((value as u16).swap_bytes()),
        (32, true) => u64::from((value as u32).swap_bytes()),
        (64, true) => value.swap_bytes(),
        (16, false) => u64::from(value as u16),
        (32, false) => u64::from(value as u32),
        (64, false) => value,
        _ => bail!("the simulator does not know a swap of {} bits", it.immediate),
    })
}

/// Whether a jump is taken.
fn taken(it: &Instruction, [target, source]: [u64; 2]) -> anyhow::Result<bool> {
    let operand = if is_register(it) { source } else { extended(it.immediate) };
    let is_wide = it.code & 7 == 5;
    let (a, b) = if is_wide {
        (target, operand)
    } else {
        (u64::from(target as u32), u64::from(operand as u32))
    };
    let signed = |value: u64| {
        if is_wide { value.cast_signed() } else { i64::from((value as u32).cast_signed()) }
    };
    Ok(match it.code & 0xf0 {
        0x00 if is_wide => true,
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => signed(a) > signed(b),
        0x70 => signed(a) >= signed(b),
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => signed(a) < signed(b),
        0xd0 => signed(a) <= signed(b),
        _ => bail!("the simulator does not know jump {:#x}", it.code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(code: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, target: 1, source: 2, offset, immediate }
    }

    #[test]
    fn arithmetic_of_32_bits_clears_the_upper_half_and_that_of_64_extends_the_sign() {
        let all = u64::MAX;
        for (code, immediate, target, source, expected) in [
            (0x04, 1, all, 0, 0),
            (0x07, -1, 5, 0, 4),
            (0x0f, 0, all, 2, 1),
            (0xb4, -1, 7, 0, u64::from(u32::MAX)),
            (0xb7, -1, 7, 0, all),
            (0xc4, 4, 0x8000_0000, 0, 0xf800_0000),
            (0xc7, 4, 1 << 63, 0, 0xf8 << 56),
            (0x3f, 0, 9, 0, 0),
            (0x9f, 0, 9, 0, 9),
            (0x37, 4, 9, 0, 2),
            (0xdc, 16, 0x1234_5678, 0, 0x7856),
            (0xdc, 32, 0x1234_5678, 0, 0x7856_3412),
            (0x84, 0, 1, 0, u64::from(u32::MAX)),
        ] {
            let result = arithmetic(&one(code, 0, immediate), target, source).unwrap();
            assert_eq!(result, expected, "{code:#x}");
        }
    }

    #[test]
    fn jumps_compare_the_width_and_sign_that_they_name() {
        let minus = (-1_i64).cast_unsigned();
        for (code, immediate, target, source, expected) in [
            (0x15, -1, minus, 0, true),
            (0x16, -1, u64::from(u32::MAX), 0, true),
            (0x25, 1, minus, 0, true),
            (0x65, 1, minus, 0, false),
            (0xc5, 1, minus, 0, true),
            (0xc6, 1, u64::from(u32::MAX), 0, true),
            (0x45, 4, 3, 0, false),
            (0xad, 0, 1, 2, true),
            (0x2d, 0, 1, 2, false),
            (0x05, 0, 0, 0, true),
        ] {
            let result = taken(&one(code, 3, immediate), [target, source]).unwrap();
            assert_eq!(result, expected, "{code:#x}");
        }
    }
}
