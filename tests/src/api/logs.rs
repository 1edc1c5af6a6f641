//! `kubectl logs`: the lines of a pod.
//!
//! Parameters as in kubernetes/kubernetes `staging/src/k8s.io/api/core/v1/types.go`, `PodLogOptions`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::reply::Pieces;
use super::request::{Query, Request};
use super::status::Refusal;

/// The pause between two looks for new lines.
const PAUSE: Duration = Duration::from_millis(300);

/// The lines of a pod, each with a leading time; the oldest ones may be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// The number of lines that are lost.
    pub lost: usize,
    /// The others.
    pub lines: Vec<String>,
}

type Read = dyn Fn(&Value) -> Lines + Send + Sync;

/// Reads the lines of a pod.
#[derive(Clone)]
pub struct Logger(Arc<Read>);

impl Logger {
    /// A logger; its argument is the pod.
    pub fn new(read: impl Fn(&Value) -> Lines + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logger")
    }
}

/// Answers the request.
pub(super) fn logs(
    logger: Option<&Logger>,
    request: &Request,
    pod: Value,
) -> Result<Pieces, Refusal> {
    let bad = |message: String| Err(Refusal::bad_request(message));
    let Some(logger) = logger.cloned() else {
        return bad("the pods run nowhere: there is no lab".to_owned());
    };
    let query = &request.query;
    let containers: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .collect();
    let wanted = query.get("container");
    if !wanted.is_empty() && !containers.contains(&wanted) {
        return bad(format!("container {wanted} is not valid for pod {}", request.name));
    }
    if query.is_set("previous") {
        return bad(format!(
            "previous terminated container {wanted:?} in pod {:?} not found",
            request.name
        ));
    }
    let first = selected((logger.0)(&pod), query)?;
    if !query.is_set("follow") {
        let text: String = first.lines.iter().map(|it| format!("{it}\n")).collect();
        return Ok(stream::iter([Ok(Bytes::from(text))]).boxed());
    }
    let next = first.lost + first.lines.len();
    let begin = text_of(&first.lines);
    let later = stream::unfold(next, move |next| {
        let (logger, pod) = (logger.clone(), pod.clone());
        async move {
            tokio::time::sleep(PAUSE).await;
            let now = (logger.0)(&pod);
            let new = now.lines.get(next.saturating_sub(now.lost)..).unwrap_or_default();
            Some((Ok(text_of(new)), next.max(now.lost + now.lines.len())))
        }
    });
    // An empty piece would end a chunked body.
    let later = later.filter(|piece| {
        let is_some = piece.as_ref().is_ok_and(|it: &Bytes| !it.is_empty());
        async move { is_some }
    });
    Ok(stream::iter([Ok(begin)]).chain(later).boxed())
}

fn text_of(lines: &[String]) -> Bytes {
    Bytes::from(lines.iter().map(|it| format!("{it}\n")).collect::<String>())
}

/// The lines that the parameters select.
fn selected(all: Lines, query: &Query) -> Result<Lines, Refusal> {
    let Lines { mut lost, mut lines } = all;
    if let Some(seconds) = query.number("sinceSeconds")? {
        let now = jiff::Timestamp::now().as_second();
        let oldest = now.saturating_sub_unsigned(seconds);
        let is_old = |line: &String| {
            let time = line.split(' ').next().and_then(|it| it.parse::<jiff::Timestamp>().ok());
            time.is_some_and(|it| it.as_second() < oldest)
        };
        let old = lines.iter().take_while(|line| is_old(line)).count();
        lines.drain(..old);
        lost += old;
    }
    if let Some(tail) = query.number("tailLines")? {
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        let rest = lines.len().saturating_sub(tail);
        lines.drain(..rest);
        lost += rest;
    }
    Ok(Lines { lost, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Lines {
        let lines = ["2001-01-01T00:00:00Z old", "no time", "2001-01-01T00:00:00Z again"];
        let all = Lines { lost: 2, lines: lines.map(str::to_owned).to_vec() };
        selected(all, &Query::of(&format!("/x?{query}").parse().unwrap())).unwrap()
    }

    #[test]
    fn the_last_lines_and_the_recent_ones_are_selected() {
        assert_eq!(of("").lines.len(), 3);
        assert_eq!(
            of("tailLines=1"),
            Lines { lost: 4, lines: vec!["2001-01-01T00:00:00Z again".into()] }
        );
        assert_eq!(of("tailLines=0").lines.len(), 0);
        let recent = of("sinceSeconds=60");
        assert_eq!((recent.lost, recent.lines[0].as_str()), (3, "no time"));
    }
}
