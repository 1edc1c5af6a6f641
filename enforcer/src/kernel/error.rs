//! Errors of the kernel's side.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::sys::SyscallError;

use super::reason::reason;

/// An error of the kernel's side.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The agent was built before its programs were.
    #[error(
        "this binary was built without its eBPF programs: run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    /// The object could not be loaded.
    #[error(
        "cannot load the eBPF programs: {} (needed: Linux 5.10 or newer, CAP_BPF and CAP_NET_ADMIN)",
        reason(.0)
    )]
    Load(#[from] aya::EbpfError),
    /// The object lacks a program.
    #[error("the eBPF object has no program {0}: it belongs to another version")]
    NoProgram(&'static str),
    /// The object lacks a table, or the table is of another kind.
    #[error("the eBPF object has no table {0} of the expected kind: it belongs to another version")]
    NoTable(&'static str),
    /// The kernel rejected a program.
    #[error("the kernel rejects program {name}: {}", rejection(cause))]
    Rejected {
        /// The program.
        name: &'static str,
        /// The kernel's answer, with the verifier's complete log, which is long.
        cause: ProgramError,
    },
    /// A program could not be run or examined.
    #[error("program {name}: {}", reason(source))]
    Program {
        /// The program.
        name: &'static str,
        /// The kernel's answer.
        source: ProgramError,
    },
    /// A table could not be mapped into memory.
    #[error("cannot map table {name} into memory: {}", reason(source))]
    Map {
        /// The table.
        name: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A table operation failed.
    #[error("table {name}: {}", reason(source))]
    Table {
        /// The table.
        name: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
    /// A write lies outside of its table.
    #[error("cannot write at index {index} of table {name}: it is outside of the table")]
    Outside {
        /// The table.
        name: &'static str,
        /// The index.
        index: usize,
    },
    /// The folder of pins can't be used.
    #[error(transparent)]
    Pins(#[from] super::PinsError),
    /// Tables of another build could not be renamed.
    #[error("cannot rename {}: {}", path.display(), reason(source))]
    Rename {
        /// Their folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A table or link could not be pinned.
    #[error("cannot pin {}: {}", path.display(), reason(source))]
    Pin {
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: aya::pin::PinError,
    },
    /// A pin could not be read or removed.
    #[error("cannot use the pin {}: {}", path.display(), reason(source))]
    ReadPin {
        /// The pin.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not provide a grace period.
    #[error("cannot wait for packets in flight: {}", reason(.0))]
    Grace(io::Error),
    /// A program could not be attached to an interface.
    #[error("cannot attach to interface {interface}: {}", reason(source))]
    Attach {
        /// The interface's name.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An interface has an `ingress` qdisc, which has no egress side, and it can't be replaced.
    #[error(
        "interface {interface} has an ingress qdisc, which has no egress side, and {filter} of another program, which can't be moved to a clsact qdisc: remove that qdisc, or use clsact there"
    )]
    IngressQdisc {
        /// The interface's name.
        interface: String,
        /// The filter that can't be moved.
        filter: String,
    },
    /// The clsact qdisc, which programs are attached to, could not be added.
    #[error("cannot add a clsact qdisc to interface {interface}: {}", reason(source))]
    Qdisc {
        /// The interface's name.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl KernelError {
    /// Whether an interface does not exist any more.
    #[must_use]
    pub fn means_gone(&self) -> bool {
        let source = match self {
            Self::Attach { source, .. } | Self::Qdisc { source, .. } => source,
            Self::Program { source: ProgramError::SyscallError(error), .. } => &error.io_error,
            _ => return false,
        };
        source.raw_os_error() == Some(libc::ENODEV)
    }

    /// Maps the error of an operation on the table `name`.
    pub(super) fn table(name: &'static str) -> impl Fn(MapError) -> Self + Copy {
        move |source| Self::Table { name, source }
    }

    /// Maps the error of a system call on the table `name`.
    pub(super) fn table_call(
        name: &'static str,
        call: &'static str,
    ) -> impl Fn(io::Error) -> Self + Copy {
        move |io_error| Self::Table { name, source: SyscallError { call, io_error }.into() }
    }

    /// Maps the error of an operation on a pin.
    pub(super) fn read_pin(path: &Path) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::ReadPin { path: path.to_owned(), source }
    }
}

/// Turns one kind of error of an operation on the table `name` into success.
pub(super) fn ignoring(
    kind: io::ErrorKind,
    name: &'static str,
    result: Result<(), MapError>,
) -> Result<(), KernelError> {
    match result {
        Err(MapError::KeyNotFound) if kind == io::ErrorKind::NotFound => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == kind => Ok(()),
        result => result.map_err(KernelError::table(name)),
    }
}

/// The reason why a program was rejected, in a line.
fn rejection(cause: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = cause else {
        return reason(cause);
    };
    let mut reason = reason(io_error);
    if io_error.kind() == io::ErrorKind::PermissionDenied {
        reason.push_str(" (needed: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)");
    }
    if let Some(line) = verdict(&verifier_log.to_string()) {
        reason.push_str("; the verifier: ");
        reason.push_str(line);
    }
    reason
}

/// The verifier's complaint: the last line of its log before its statistics.
fn verdict(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];
    let mut lines = log.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty() && !STATISTICS.iter().any(|it| line.starts_with(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_kernels_answer() {
        let answer = || io::Error::from_raw_os_error(libc::ENOSPC);
        let text = KernelError::table_call("VERDICTS", "bpf_map_update_elem")(answer()).to_string();
        let expected =
            "table VERDICTS: `bpf_map_update_elem` failed: No space left on device (ENOSPC)";
        assert_eq!(text, expected);
        let call = SyscallError { call: "bpf_mprog_attach", io_error: answer() };
        let program = KernelError::Program { name: "to_pod", source: call.into() };
        assert!(
            program
                .to_string()
                .ends_with("`bpf_mprog_attach` failed: No space left on device (ENOSPC)"),
            "{program}"
        );
        let io_error = io::Error::from_raw_os_error(libc::EACCES);
        let text = KernelError::Attach { interface: "eth0".to_owned(), source: io_error };
        assert_eq!(text.to_string(), "cannot attach to interface eth0: Permission denied (EACCES)");
    }

    #[test]
    fn the_verifiers_verdict_comes_before_its_statistics() {
        let log = "58: (bf) r9 = r0 ; R0=map_value()\n59: (15) if r4 == 0x0 goto pc+18\n\
                   R4 pointer comparison prohibited\nverification time 1517 usec\n\
                   stack depth 96+0+0\nprocessed 56 insns (limit 1000000)\n\n";
        assert_eq!(verdict(log), Some("R4 pointer comparison prohibited"));
        assert_eq!(verdict(""), None);
    }
}
