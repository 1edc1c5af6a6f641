//! The agent's own resources, with the names that Prometheus' own clients use.

use std::fs;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The resources of a process, from proc(5).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessUse {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The maximum number of open file descriptors; `None`: unlimited.
    pub max_fds: Option<u64>,
    /// The time of its start, in seconds since 1970.
    pub start_seconds: f64,
}

/// The units of the files in /proc.
#[derive(Debug, Clone, Copy)]
struct Units {
    ticks_per_second: f64,
    page: u64,
}

impl ProcessUse {
    /// The present resources of this process; `None` without /proc.
    #[must_use]
    pub fn read() -> Option<Self> {
        use nix::unistd::{SysconfVar, sysconf};
        let ticks = u32::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
        let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
        let units = Units { ticks_per_second: f64::from(ticks), page };
        let text = |path| fs::read_to_string(path).ok();
        let (stat, boot) = (text("/proc/self/stat")?, text("/proc/stat")?);
        let mut process = times(&stat, &boot, units)?;
        // /proc/self/stat has the memory, too, but zeros for processes that are emulated in user space.
        [process.virtual_bytes, process.resident_bytes] =
            memory(&text("/proc/self/statm")?, units)?;
        // One of them belongs to the listing itself.
        let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        process.open_fds = u64::try_from(open).unwrap_or(u64::MAX);
        process.max_fds = text("/proc/self/limits").and_then(|it| max_open_files(&it));
        Some(process)
    }
}

/// Reads /proc/self/stat and /proc/stat.
fn times(stat: &str, boot: &str, units: Units) -> Option<ProcessUse> {
    // The process's name is in brackets, and may contain any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // Numbered as in proc(5), where the name is field 2.
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    let seconds = |number| Some(field(number)?.parse::<f64>().ok()? / units.ticks_per_second);
    let booted = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(ProcessUse {
        cpu_seconds: seconds(14)? + seconds(15)?,
        start_seconds: booted.trim().parse::<f64>().ok()? + seconds(22)?,
        ..ProcessUse::default()
    })
}

/// Reads /proc/self/statm: total and resident memory, both in pages.
fn memory(statm: &str, units: Units) -> Option<[u64; 2]> {
    let mut pages = statm.split_whitespace().map(|it| it.parse::<u64>().ok());
    Some([pages.next()??, pages.next()??].map(|it| it * units.page))
}

fn max_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Encodes the resources as metrics.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    process: &ProcessUse,
) -> std::fmt::Result {
    let cpu = "Total user and system CPU time spent in seconds.";
    let (counter, gauge) = (MetricType::Counter, MetricType::Gauge);
    let mut family = encoder.encode_descriptor("cpu", cpu, Some(&Unit::Seconds), counter)?;
    family.encode_counter::<NoLabelSet, f64, u64>(&process.cpu_seconds, None)?;
    let gauges = [
        ("resident_memory", "Resident memory size in bytes.", process.resident_bytes),
        ("virtual_memory", "Virtual memory size in bytes.", process.virtual_bytes),
    ];
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), gauge)?;
        family.encode_gauge(&value)?;
    }
    let mut family =
        encoder.encode_descriptor("open_fds", "Number of open file descriptors.", None, gauge)?;
    family.encode_gauge(&process.open_fds)?;
    if let Some(most) = process.max_fds {
        let help = "Maximum number of open file descriptors.";
        encoder.encode_descriptor("max_fds", help, None, gauge)?.encode_gauge(&most)?;
    }
    let help = "Start time of the process since unix epoch in seconds.";
    let mut family = encoder.encode_descriptor("start_time", help, Some(&Unit::Seconds), gauge)?;
    family.encode_gauge(&process.start_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units { ticks_per_second: 100.0, page: 4_096 };

    #[test]
    fn numbers_are_found_behind_any_name() {
        let numbers = "S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 1000 8192 3 24";
        for name in ["enforcer", "a) S 1", "(", "a b"] {
            let stat = format!("77 ({name}) {numbers}");
            let found = times(&stat, "cpu 1 2\nbtime 1700000000\n", UNITS).unwrap();
            let expected = ProcessUse {
                cpu_seconds: 3.0,
                start_seconds: 1_700_000_010.0,
                ..ProcessUse::default()
            };
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(times("77 (short) S 1 2", "btime 1", UNITS), None);
    }

    #[test]
    fn memory_is_counted_in_pages() {
        assert_eq!(memory("2 1 1 0 0 1 0\n", UNITS), Some([8_192, 4_096]));
        assert_eq!(memory("2\n", UNITS), None);
    }

    #[test]
    fn there_may_be_no_limit() {
        let head = "Limit                     Soft Limit           Hard Limit           Units\n";
        let line = |soft| format!("{head}Max open files            {soft}     1048576     files\n");
        assert_eq!(max_open_files(&line("1024")), Some(1_024));
        assert_eq!(max_open_files(&line("unlimited")), None);
    }

    #[test]
    fn this_process_uses_something() {
        let process = ProcessUse::read().unwrap();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_fds >= 3, "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - process.start_seconds;
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}
