//! Requirements on this machine; all that are missing are reported at once.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process;
use crate::version::{self, Version};

/// The oldest supported kernel.
const KERNEL: Version = [5, 10, 0];

/// Capability bits, from `linux/capability.h`.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

/// Whether this user can become root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Root already.
    Is,
    /// sudo works, perhaps with a password.
    Sudo,
    /// sudo needs a password, but there is no terminal.
    SudoCannotAsk,
    /// There is no sudo.
    No,
}

/// Properties of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    os: String,
    architecture: String,
    /// `uname -r`
    kernel: String,
    /// Whether the kernel describes its own types.
    btf: bool,
    /// The capabilities that root can have here, from `/proc/self/status`.
    capabilities: Option<u64>,
    /// Whether this is a user namespace, whose root may not use BPF.
    user_namespace: bool,
    root: Root,
}

impl Facts {
    /// Reads the properties of this machine.
    pub(crate) fn gather() -> Self {
        let root = root();
        let status = read("/proc/self/status");
        // sudo gives at most the bounding set; root already has the effective set.
        let field = if root == Root::Is { "CapEff:" } else { "CapBnd:" };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            btf: Path::new("/sys/kernel/btf/vmlinux").is_file(),
            capabilities: capabilities(&status, field),
            user_namespace: is_user_namespace(&read("/proc/self/uid_map")),
            root,
        }
    }

    /// The unmet requirements of the lab and of the kernel tests, for people.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.os != "linux" {
            return vec![format!(
                "eBPF and network namespaces need Linux, this is {}: use a virtual machine, or \
                 `cargo xtask test --quick` for the tests that need no kernel",
                self.os
            )];
        }
        let mut missing = Vec::new();
        if !["x86_64", "aarch64"].contains(&self.architecture.as_str()) {
            missing.push(format!(
                "the agent supports x86_64 and aarch64, this is {}",
                self.architecture
            ));
        }
        if version::parse(&self.kernel).is_some_and(|found| found < KERNEL) {
            missing.push(format!("the kernel must be 5.10 or newer, this is {}", self.kernel));
        }
        if !self.btf {
            missing.push(
                "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing): it needs \
                 CONFIG_DEBUG_INFO_BTF, which the distributions' kernels have"
                    .to_owned(),
            );
        }
        missing.extend(self.missing_rights());
        missing
    }

    fn missing_rights(&self) -> Vec<String> {
        let mut missing = Vec::new();
        match self.root {
            Root::Is | Root::Sudo => {}
            Root::SudoCannotAsk => missing.push(
                "sudo needs a password, but there is no terminal: run this as root".to_owned(),
            ),
            Root::No => missing.push(
                "root is needed to make network namespaces and load programs, and there is no \
                 sudo: run this as root"
                    .to_owned(),
            ),
        }
        if self.user_namespace {
            missing.push(
                "this is a user namespace (a rootless container?), whose root may not load BPF \
                 programs"
                    .to_owned(),
            );
        }
        for (bit, name) in [(NET_ADMIN, "CAP_NET_ADMIN"), (SYS_ADMIN, "CAP_SYS_ADMIN")] {
            if self.capabilities.is_some_and(|set| set & (1 << bit) == 0) {
                missing.push(format!(
                    "root lacks {name} here (a container without --privileged?), which network \
                     namespaces and BPF programs need"
                ));
            }
        }
        missing
    }
}

/// The error message for unmet requirements.
pub(crate) fn describe(missing: &[String]) -> String {
    let mut text = String::from("this machine can't run the lab:");
    for item in missing {
        text.push_str("\n  - ");
        text.push_str(item);
    }
    text
}

fn root() -> Root {
    if nix::unistd::geteuid().is_root() {
        return Root::Is;
    }
    if process::which("sudo").is_none() {
        return Root::No;
    }
    let mut question = Command::new("sudo");
    question.args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    if question.status().is_ok_and(|status| status.success()) || std::io::stdin().is_terminal() {
        Root::Sudo
    } else {
        Root::SudoCannotAsk
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A capability set out of `/proc/self/status`.
fn capabilities(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Whether this isn't the first user namespace, which maps every id to itself.
fn is_user_namespace(uid_map: &str) -> bool {
    let numbers: Vec<_> = uid_map.split_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            kernel: "6.18.0-aks+1".to_owned(),
            btf: true,
            capabilities: Some(0x1ff_ffff_ffff),
            user_namespace: false,
            root: Root::Sudo,
        }
    }

    #[test]
    fn a_good_machine_lacks_nothing() {
        assert_eq!(good().missing(), Vec::<String>::new());
        let oldest = Facts { kernel: "5.10.0".to_owned(), ..good() };
        assert_eq!(oldest.missing(), Vec::<String>::new());
    }

    #[test]
    fn everything_missing_is_reported_at_once() {
        let facts = Facts {
            architecture: "riscv64".to_owned(),
            kernel: "5.9.16-1-amd64".to_owned(),
            btf: false,
            capabilities: Some(0xa804_25fb),
            user_namespace: true,
            root: Root::No,
            ..good()
        };
        let text = describe(&facts.missing());
        for word in
            ["riscv64", "5.9.16", "BTF", "no sudo", "user namespace", "NET_ADMIN", "SYS_ADMIN"]
        {
            assert!(text.contains(word), "{word} in: {text}");
        }
    }

    #[test]
    fn another_system_is_the_only_report() {
        let facts = Facts { os: "macos".to_owned(), btf: false, root: Root::No, ..good() };
        let missing = facts.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("macos"), "{missing:?}");
    }

    #[test]
    fn each_missing_capability_is_reported() {
        let net_admin_only = Facts { capabilities: Some(1 << NET_ADMIN), ..good() };
        let missing = net_admin_only.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("CAP_SYS_ADMIN"), "{missing:?}");
        let no_terminal = Facts { root: Root::SudoCannotAsk, ..good() };
        assert!(no_terminal.missing()[0].contains("no terminal"));
    }

    #[test]
    fn the_kernels_files_are_read() {
        let status = "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n";
        assert_eq!(capabilities(status, "CapBnd:"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities(status, "CapEff:"), Some(0));
        assert_eq!(capabilities("", "CapEff:"), None);
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace("         0       1000          1\n"));
        assert!(!is_user_namespace(""));
    }
}
