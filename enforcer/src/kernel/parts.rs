//! The parts of `to_pod` in their table ([`parts`]), one table for each set of programs.
//!
//! The kernel empties a table of programs when its last descriptor or pin goes, whatever programs still
//! use it. So each set of programs that outlives the agent has a pin of its own beside the tables
//! (semantics C3): `parts-ID`, by the table's id. It is removed once no hook has a program of that set.

use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::ProgramFd;
use enforcer_ebpf::contract::{parts, table};

use super::KernelError;
use super::pins::{self, PinsError};
use super::verification::program_of;

/// How the names of pins begin.
const PREFIX: &str = "parts-";

/// Puts the parts, which are loaded, into the table of their set.
pub(super) fn fill(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let fds = parts::NAMES
        .map(|name| descriptor(ebpf, name))
        .into_iter()
        .collect::<Result<Vec<_>, KernelError>>()?;
    let table = ebpf.map_mut(table::PARTS).ok_or(KernelError::NoTable(table::PARTS))?;
    let failed = KernelError::table(table::PARTS);
    let mut table = ProgramArray::try_from(table).map_err(failed)?;
    (0..).zip(&fds).try_for_each(|(place, fd)| table.set(place, fd, 0).map_err(failed))
}

fn descriptor(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, KernelError> {
    let failed = |source| KernelError::Program { name, source };
    let program = program_of(ebpf, name)?.fd().map_err(failed)?;
    program.try_clone().map_err(|error| failed(error.into()))
}

/// A table with its pin.
pub(super) type Pinned = (PathBuf, MapData);

/// Pins the table of a set in this folder, so that it outlives the agent.
pub(super) fn keep(ebpf: &Ebpf, folder: &Path) -> Result<Pinned, KernelError> {
    let failed = KernelError::table(table::PARTS);
    let Some(Map::ProgramArray(table)) = ebpf.map(table::PARTS) else {
        return Err(KernelError::NoTable(table::PARTS));
    };
    let id = table.info().map_err(failed)?.id();
    let path = folder.join(format!("{PREFIX}{id}"));
    table.pin(&path).map_err(|source| KernelError::Pin { path: path.clone(), source })?;
    let held = MapData::from_pin(&path).map_err(failed)?;
    Ok((path, held))
}

/// Removes the pins of other sets. No hook has a program of these any more.
pub(super) fn drop_others(folder: &Path, kept: &[Pinned]) -> Result<(), PinsError> {
    for path in pins::entries(folder)? {
        let is_parts = pins::name(&path).starts_with(PREFIX);
        if is_parts && !kept.iter().any(|(it, _)| *it == path) {
            pins::remove_pin(&path)?;
        }
    }
    Ok(())
}
