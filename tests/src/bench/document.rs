//! The JSON document: see docs/json.md.

use std::fs;
use std::time::Instant;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::attach::Attached;
use super::cost::Costs;
use super::effect::Effect;
use super::floods::Flooded;
use super::packets::Figures;
use super::start_up::StartUp;
use super::traffic::Traffic;
use super::watched::Watched;

/// The version of the document.
pub(super) const VERSION: u32 = 1;

/// The document, without the parts that were not measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Document {
    pub version: u32,
    pub kind: String,
    /// The day, in UTC.
    pub date: String,
    pub machine: Machine,
    pub parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floods: Option<Vec<Flooded>>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub effect: Option<Vec<Effect>>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub watched: Option<Vec<Watched>>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub attached: Option<Vec<Attached>>,
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub start_up: Option<Vec<StartUp>>,
}

/// Where the figures were measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Machine {
    pub kernel: String,
    pub cpus: u32,
    /// The CPU's name, as far as the machine knows it.
    pub cpu: String,
    pub memory_mib: u64,
}

/// A measured part, and what else the machine did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub name: String,
    pub seconds: f64,
    /// The load average of the minute before it.
    pub load_before: f64,
    /// That of its last minute.
    pub load_after: f64,
}

impl Document {
    /// Without any figures yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let (kind, machine) = ("bench".to_owned(), Machine::this()?);
        Ok(Self { version: VERSION, kind, date, machine, ..Self::default() })
    }

    /// Measures a part and notes its time and the machine's load.
    pub(super) fn part<T>(
        &mut self,
        name: &str,
        measure: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (load_before, started_at) = (load_average()?, Instant::now());
        let measured = measure().with_context(|| format!("measure {name}"))?;
        let (seconds, load_after) = (started_at.elapsed().as_secs_f64(), load_average()?);
        self.parts.push(Part { name: name.to_owned(), seconds, load_before, load_after });
        Ok(measured)
    }
}

impl Machine {
    fn this() -> anyhow::Result<Self> {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|it| it.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kilobytes = memory.split(' ').next().and_then(|it| it.parse::<u64>().ok());
        let cpus = std::thread::available_parallelism().context("count CPUs")?.get();
        Ok(Self {
            kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
            cpus: u32::try_from(cpus)?,
            cpu: field("/proc/cpuinfo", "model name"),
            memory_mib: kilobytes.unwrap_or_default() / 1024,
        })
    }
}

/// The load average of the last minute.
fn load_average() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().and_then(|it| it.parse().ok()).context("no load average")
}
