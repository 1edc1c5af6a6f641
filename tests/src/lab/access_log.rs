//! The requests that pods have answered, for `kubectl logs`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The most lines that are kept of a pod.
const LINES: usize = 1_000;

/// The lines of all pods, by `namespace/name`. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct AccessLog(Arc<Mutex<BTreeMap<String, Pod>>>);

#[derive(Debug, Clone, Default)]
struct Pod {
    lost: usize,
    lines: VecDeque<String>,
}

impl AccessLog {
    /// Begins the log of a new pod.
    pub(super) fn begin(&self, pod: &str, at: &str) {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = VecDeque::from([format!("{} serving {at}", now())]);
        pods.insert(pod.to_owned(), Pod { lost: 0, lines });
    }

    /// Notes a request.
    pub(super) fn note(&self, pod: &str, client: IpAddr, request: &str) {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = pods.get_mut(pod) else { return };
        pod.lines.push_back(format!("{} {client} {request}", now()));
        if pod.lines.len() > LINES {
            pod.lines.pop_front();
            pod.lost += 1;
        }
    }

    /// The number of forgotten lines of a pod, and the others.
    pub fn lines(&self, pod: &str) -> (usize, Vec<String>) {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pods.get(pod).map(|it| (it.lost, it.lines.iter().cloned().collect()));
        found.unwrap_or_default()
    }
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_lines_are_forgotten_and_counted() {
        let log = AccessLog::default();
        log.note("a", [10, 0, 0, 1].into(), "GET /");
        assert_eq!(log.lines("a"), (0, Vec::new()), "no such pod");
        log.begin("a", "port 80");
        for _ in 0..LINES + 4 {
            log.note("a", [10, 0, 0, 1].into(), "GET /");
        }
        let (lost, lines) = log.lines("a");
        assert_eq!((lost, lines.len()), (5, LINES));
        assert!(lines[0].ends_with(" 10.0.0.1 GET /"), "{}", lines[0]);
    }
}
