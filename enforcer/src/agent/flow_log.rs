//! The export of flows as lines of JSON.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::inspect::SCHEMA_VERSION;
use crate::observe::FlowRecord;

/// The largest file in bytes. A full one is renamed to `FILE.1`, which replaces an older one, so that
/// the log of a busy node does not fill its disk.
const LARGEST: u64 = 64 << 20;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowLogTarget {
    /// Standard output.
    Standard,
    /// A file.
    File(PathBuf),
}

impl From<PathBuf> for FlowLogTarget {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Standard } else { Self::File(path) }
    }
}

/// The log of flows.
#[derive(Debug)]
pub(super) struct FlowLog {
    target: FlowLogTarget,
    /// The largest file.
    largest: u64,
    has_failed: bool,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    version: u32,
    kind: &'static str,
    #[serde(flatten)]
    flow: &'a FlowRecord,
}

impl FlowLog {
    pub(super) const fn new(target: FlowLogTarget) -> Self {
        Self { target, largest: LARGEST, has_failed: false }
    }

    /// Writes flows. A failure is logged once, until it is over.
    pub(super) fn write(&mut self, flows: &[FlowRecord]) {
        if flows.is_empty() {
            return;
        }
        let result = self.try_write(flows);
        if let (Err(error), false) = (&result, self.has_failed) {
            tracing::error!(
                "cannot write --flow-log: {error}; flows are not logged until it works"
            );
        }
        self.has_failed = result.is_err();
    }

    fn try_write(&self, flows: &[FlowRecord]) -> io::Result<()> {
        let mut lines = Vec::new();
        for flow in flows {
            let line = Line { version: SCHEMA_VERSION, kind: "flow", flow };
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
        }
        match &self.target {
            FlowLogTarget::Standard => io::stdout().write_all(&lines),
            FlowLogTarget::File(path) => self.open(path)?.write_all(&lines),
        }
    }

    /// Opens the file for each write: it may have been moved or removed.
    fn open(&self, path: &Path) -> io::Result<File> {
        if fs::metadata(path).is_ok_and(|it| it.len() >= self.largest) {
            let mut older = path.as_os_str().to_owned();
            older.push(".1");
            fs::rename(path, older)?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_a_full_file_is_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.jsonl");
        let mut log = FlowLog::new(path.clone().into());
        let flow = FlowRecord { from: "shop/web".to_owned(), ..FlowRecord::default() };
        log.write(&[flow.clone(), flow.clone()]);
        log.write(std::slice::from_ref(&flow));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["version"], &line["kind"]), (&1.into(), &"flow".into()));
        assert_eq!(line["from"], "shop/web");
        log.largest = 10;
        log.write(std::slice::from_ref(&flow));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(fs::read_to_string(folder.path().join("flows.jsonl.1")).unwrap(), text);
    }

    #[test]
    fn the_log_continues_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/flows.jsonl");
        let mut log = FlowLog::new(path.clone().into());
        log.write(&[FlowRecord::default()]);
        assert!(log.has_failed);
        fs::create_dir(folder.path().join("missing")).unwrap();
        log.write(&[FlowRecord::default()]);
        assert!(!log.has_failed && path.exists());
    }
}
