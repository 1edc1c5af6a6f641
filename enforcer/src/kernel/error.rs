//! What can go wrong between the agent and the kernel.

use std::io;

use aya::programs::ProgramError;

/// An error of the kernel's side.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The agent was built before its programs were.
    #[error(
        "this binary was built without its eBPF programs: run `cargo xtask build-ebpf`, then build it again"
    )]
    NoObject,
    /// The programs could not be loaded.
    #[error(
        "cannot load the eBPF programs: {0} (needed: Linux 5.10 or newer, CAP_BPF and CAP_NET_ADMIN)"
    )]
    Load(#[from] aya::EbpfError),
    /// The object lacks a program.
    #[error("the eBPF object has no program {0}: it belongs to another version")]
    NoProgram(&'static str),
    /// The object lacks a table, or it is of another kind.
    #[error("the eBPF object has no table {0} of the expected kind: it belongs to another version")]
    NoTable(&'static str),
    /// A program was refused.
    #[error("the kernel refuses program {name}: {}", refusal(cause))]
    Refused {
        /// Which one.
        name: &'static str,
        /// Why, with all that the verifier said, which is long.
        cause: ProgramError,
    },
    /// A program could not be run or looked at.
    #[error("program {name}: {source}")]
    Program {
        /// Which one.
        name: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A table could not be mapped into memory.
    #[error("cannot map table {name}: {source}")]
    Map {
        /// Which one.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A table operation failed.
    #[error("table {name}: {source}")]
    Table {
        /// Which one.
        name: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// A write lies outside of its table.
    #[error("a write at {index} is outside of table {name}")]
    Outside {
        /// Which table.
        name: &'static str,
        /// Where.
        index: usize,
    },
    /// What outlives the agent can't be kept.
    #[error(transparent)]
    Pins(#[from] super::PinsError),
    /// Tables of another build could not be put aside.
    #[error("cannot put {} aside: {source}", path.display())]
    Rename {
        /// Where they are.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be kept on its interface.
    #[error("cannot pin {}: {source}", path.display())]
    Pin {
        /// The pin.
        path: std::path::PathBuf,
        /// Why.
        source: aya::pin::PinError,
    },
    /// A pinned program could not be looked at.
    #[error("cannot read {}: {source}", path.display())]
    ReadPin {
        /// The pin.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel could not tell when all packets had passed.
    #[error("cannot wait for packets in flight: {0}")]
    Grace(io::Error),
    /// A program could not be attached to an interface.
    #[error("cannot attach to interface {interface}: {source}")]
    Attach {
        /// The interface's name.
        interface: String,
        /// Why.
        source: ProgramError,
    },
    /// The interface could not get the qdisc that programs are attached to.
    #[error("cannot add a clsact qdisc to interface {interface}: {source}")]
    Qdisc {
        /// The interface's name.
        interface: String,
        /// Why.
        source: aya::programs::tc::TcError,
    },
}

/// Why a program was refused, in a line.
fn refusal(cause: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = cause else {
        return cause.to_string();
    };
    let mut said = io_error.to_string();
    if io_error.kind() == io::ErrorKind::PermissionDenied {
        said.push_str(" (needed: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)");
    }
    if let Some(line) = verdict(&verifier_log.to_string()) {
        said.push_str("; the verifier: ");
        said.push_str(line);
    }
    said
}

/// What the verifier stopped at: what it says last, before it counts what it did.
fn verdict(log: &str) -> Option<&str> {
    const COUNTS: [&str; 3] = ["verification time", "stack depth", "processed"];
    let mut lines = log.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty() && !COUNTS.iter().any(|it| line.starts_with(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_verdict_comes_before_its_counts() {
        let log = "58: (bf) r9 = r0 ; R0=map_value()\n59: (15) if r4 == 0x0 goto pc+18\n\
                   R4 pointer comparison prohibited\nverification time 1517 usec\n\
                   stack depth 96+0+0\nprocessed 56 insns (limit 1000000)\n\n";
        assert_eq!(verdict(log), Some("R4 pointer comparison prohibited"));
        assert_eq!(verdict(""), None);
    }
}
