//! QEMU: finds or installs it, and boots machines that only have a console.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::packages::{self, Wanted};
use crate::process;
use crate::ui::Step;

/// The time limit for a kernel without an init to panic, with KVM: it takes about a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The emulated processor: all that QEMU knows, but for fast repeated moves. QEMU emulates those byte by byte, and
/// the kernel uses them, where it finds them, for all that it copies: the verifier copies its states.
const EMULATED: &str = "max,-erms,-fsrm";

/// The executor of a machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accelerator {
    /// The processor, through KVM.
    Kvm,
    /// QEMU itself.
    Emulation,
}

/// Boots machines.
pub(super) struct Qemu {
    program: PathBuf,
    accelerator: Accelerator,
}

impl Qemu {
    /// Finds QEMU, or installs it.
    ///
    /// # Errors
    /// It is missing and can't be installed; [`Unfit`](crate::unfit::Unfit) if root is missing.
    pub(super) fn obtain() -> Result<PathBuf> {
        packages::obtain(Wanted {
            program: "qemu-system-x86_64",
            package: "qemu-system-x86",
            why: "to boot other kernels",
        })
    }

    /// Uses KVM if it boots this kernel: on some hosts it doesn't.
    pub(super) fn new(program: PathBuf, kernel: &Path) -> Result<Self> {
        let mut qemu = Self { program, accelerator: Accelerator::Kvm };
        let step = Step::start("trying KVM");
        if qemu.boots(kernel, &step)? {
            step.done("used");
        } else {
            qemu.accelerator = Accelerator::Emulation;
            step.skipped("not usable here; the machines are emulated");
        }
        Ok(qemu)
    }

    /// Whether a kernel boots until it finds no init.
    fn boots(&self, kernel: &Path, step: &Step) -> Result<bool> {
        let device = Path::new("/dev/kvm");
        let allowed = nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK;
        if nix::unistd::access(device, allowed).is_err() {
            return Ok(false);
        }
        let mut command = self.command(kernel, None, "");
        let (_, lines) =
            process::collect_until(&mut command, |line| step.detail(line), Some(PATIENCE))?;
        Ok(lines.iter().any(|line| line.contains("Kernel panic")))
    }

    /// Boots a machine and returns its console's lines until it powers off or is killed after
    /// `limit`.
    pub(super) fn run(
        &self,
        kernel: &Path,
        initramfs: &Path,
        arguments: &str,
        limit: Duration,
        seen: impl FnMut(&str),
    ) -> Result<Vec<String>> {
        let mut command = self.command(kernel, Some(initramfs), arguments);
        let (status, mut lines) = process::collect_until(&mut command, seen, Some(limit))?;
        match status {
            None => lines.push(format!("killed after {} s", limit.as_secs())),
            Some(status) if !status.success() => lines.push(format!("QEMU: {status}")),
            Some(_) => {}
        }
        Ok(lines)
    }

    fn command(&self, kernel: &Path, initramfs: Option<&Path>, arguments: &str) -> Command {
        // The machine ends with this process, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-serial", "stdio", "-m", "2048", "-smp", "2"]);
        command.args(match self.accelerator {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Emulation => ["-accel", "tcg,thread=multi", "-cpu", EMULATED],
        });
        command.arg("-kernel").arg(kernel);
        if let Some(path) = initramfs {
            command.arg("-initrd").arg(path);
        }
        // A panic ends the machine at once: it tries to reboot, which `-no-reboot` prevents.
        let quiet = if initramfs.is_some() { "quiet loglevel=1 " } else { "" };
        let line = format!("console=ttyS0 panic=-1 {quiet}{arguments}");
        command.args([OsString::from("-append"), line.into()]);
        command
    }
}
