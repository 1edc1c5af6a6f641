//! The programs of an object, and their loading at the same time.

use std::cmp::Reverse;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::Ebpf;
use aya::programs::SchedClassifier;

use super::KernelError;

/// Loads these programs in two threads, in this order: nearly all of the agent's start is the
/// verification of its large programs. More threads would only need more memory.
pub(super) fn load_each(ebpf: &mut Ebpf, programs: &[&'static str]) -> Result<(), KernelError> {
    for name in programs {
        program_of(ebpf, name)?;
    }
    let numbered = ebpf.programs_mut().filter_map(|(name, program)| {
        let at = programs.iter().position(|it| *it == name)?;
        Some((at, *programs.get(at)?, program.try_into().ok()?))
    });
    let mut waiting: Vec<(usize, &'static str, &mut SchedClassifier)> = numbered.collect();
    waiting.sort_by_key(|(at, ..)| Reverse(*at));
    let waiting = Mutex::new(waiting);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let load_some = || {
        while let Some((_, name, program)) = next() {
            load(name, program)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = thread::Builder::new().name("verification".to_owned());
        // Without a second thread, the first one loads them all.
        let other = other.spawn_scoped(scope, load_some).ok();
        let own = load_some();
        let others = other.map_or(Ok(()), |it| it.join().unwrap_or_else(|it| resume_unwind(it)));
        own.and(others)
    })
}

/// A program of the object.
pub(super) fn program_of<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, KernelError> {
    ebpf.program_mut(name)
        .ok_or(KernelError::NoProgram(name))?
        .try_into()
        .map_err(|source| KernelError::Program { name, source })
}

fn load(name: &'static str, program: &mut SchedClassifier) -> Result<(), KernelError> {
    program.load().map_err(|cause| {
        tracing::debug!("program {name}: {cause}");
        KernelError::Rejected { name, cause }
    })
}
