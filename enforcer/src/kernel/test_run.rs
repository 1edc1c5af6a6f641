//! Running loaded programs on given packets (`BPF_PROG_TEST_RUN`). The agent reads the clock of its attached
//! programs this way, and asks its trial programs ([`super::Trial`]); tests and benchmarks run all of them.

use std::io;
use std::time::Duration;

use aya::programs::{ProgramError, ProgramFd, SchedClassifier, TestRun, TestRunOptions};
use bytemuck::{Pod, Zeroable};

use super::{Kernel, KernelError};

/// A program to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunProgram {
    /// The program for packets from a pod.
    FromPod,
    /// The program for packets to a pod.
    ToPod,
    /// The program for packets that enter the node.
    FromWire,
    /// The program for packets that leave the node.
    ToWire,
    /// The program for packets that enter the node without an Ethernet header.
    FromWireIp,
    /// The program for packets that leave the node without an Ethernet header.
    ToWireIp,
    /// A program that does nothing.
    Empty,
    /// A program that only parses the packet.
    ParseOnly,
}

impl RunProgram {
    /// The program's name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::FromWire => "from_wire",
            Self::ToWire => "to_wire",
            Self::FromWireIp => "from_wire_ip",
            Self::ToWireIp => "to_wire_ip",
            Self::Empty => "empty",
            Self::ParseOnly => "parse_only",
        }
    }
}

/// A packet, and the place where a program sees it.
#[derive(Debug, Clone, Copy)]
pub struct RunInput<'a> {
    /// The frame with its link-layer header, at least 14 bytes.
    pub frame: &'a [u8],
    /// The interface of the hook, which must exist in the calling thread's network namespace.
    pub ifindex: u32,
    /// The interface that the packet entered by; 0: the node itself sent it.
    pub ingress_ifindex: u32,
    /// `skb->mark`
    pub mark: u32,
    /// `skb->tc_index`, if the programs were loaded with [`super::Settings::test_index`].
    pub index: u32,
    /// The number of runs.
    pub repeat: u32,
}

/// The result of running a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Whether the packet may proceed.
    pub passes: bool,
    /// `skb->mark` afterwards.
    pub mark: u32,
    /// `skb->tc_index` afterwards, as in [`RunInput::index`].
    pub index: u32,
    /// The mean duration of one run.
    pub duration: Duration,
}

/// The beginning of `struct __sk_buff`. The kernel rejects values in unsupported fields.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct TestContext {
    pub len: u32,
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    pub protocol: u32,
    pub vlan_present: u32,
    pub vlan_tci: u32,
    pub vlan_proto: u32,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
}

/// The length of the shortest frame that kernels accept.
const SHORTEST: usize = 60;

/// The return value for a packet that may proceed (TC_ACT_UNSPEC).
const NEXT: u32 = u32::MAX;

impl Kernel {
    /// The present bucket of the programs' coarse clock.
    ///
    /// # Errors
    /// The kernel can't run the program.
    pub fn now(&mut self) -> Result<u32, KernelError> {
        let name = "clock";
        let mut options = TestRunOptions::new();
        options.data_in = Some(&[0; SHORTEST]);
        let run = self.program(name)?.test_run(options);
        Ok(run.map_err(|source| KernelError::Program { name, source })?.return_value)
    }

    /// A program, for another one that calls it.
    ///
    /// # Errors
    /// The program's descriptor can't be duplicated.
    pub fn program_fd(&mut self, program: RunProgram) -> Result<ProgramFd, KernelError> {
        let name = program.name();
        let failed = |source| KernelError::Program { name, source };
        let fd = self.program(name)?.fd().map_err(failed)?;
        fd.try_clone().map_err(|error| failed(error.into()))
    }

    /// Runs a program on a packet.
    ///
    /// # Errors
    /// The kernel rejects the packet (shorter than a link-layer header) or the interface.
    pub fn run(&mut self, program: RunProgram, input: &RunInput<'_>) -> Result<Run, KernelError> {
        let test_origin = self.build.settings.test_origin;
        run(self.program(program.name())?, program, test_origin, input)
    }

    /// Whether test runs may set `ingress_ifindex`; those of Linux 5.10 may not (`net/bpf/test_run.c`,
    /// `convert___skb_to_skb`).
    pub(super) fn accepts_origin(&mut self) -> Result<bool, KernelError> {
        let input = RunInput {
            frame: &[0; SHORTEST],
            ifindex: 1,
            ingress_ifindex: 1,
            mark: 0,
            index: 0,
            repeat: 1,
        };
        match run(self.program("empty")?, RunProgram::Empty, false, &input) {
            Ok(_) => Ok(true),
            Err(KernelError::Program { source: ProgramError::SyscallError(error), .. })
                if error.io_error.kind() == io::ErrorKind::InvalidInput =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Runs a program on a packet. `test_origin`: as in its [`super::Settings`].
pub(super) fn run(
    loaded: &mut SchedClassifier,
    program: RunProgram,
    test_origin: bool,
    input: &RunInput<'_>,
) -> Result<Run, KernelError> {
    let name = program.name();
    let context = TestContext {
        mark: input.mark,
        ingress_ifindex: if test_origin { 0 } else { input.ingress_ifindex },
        ifindex: input.ifindex,
        cb: [0, if test_origin { input.ingress_ifindex } else { 0 }, input.index, 0, 0],
        ..TestContext::default()
    };
    // The kernel writes its complete context, which is larger in newer versions.
    let mut after = [0; 512];
    let mut options = TestRunOptions::new();
    options.data_in = Some(input.frame);
    options.ctx_in = Some(bytemuck::bytes_of(&context));
    options.ctx_out = Some(&mut after);
    options.repeat = input.repeat;
    let result =
        loaded.test_run(options).map_err(|source| KernelError::Program { name, source })?;
    let after: TestContext = bytemuck::pod_read_unaligned(&after[..size_of::<TestContext>()]);
    let (passes, duration) = (result.return_value == NEXT, result.duration);
    Ok(Run { passes, mark: after.mark, index: after.cb[2], duration })
}
