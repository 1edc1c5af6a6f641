//! Measures connections to a Service, often enough to reach all of its backends.

use std::net::SocketAddr;
use std::time::Duration;

use enforcer_core::model::{PodId, Protocol, Traffic};
use futures::future::try_join_all;

use crate::lab::{Lab, LabError};
use crate::probe::{Outcome, Page, Probe, fetch};

/// The number of connections if there are several backends.
const TRIES: usize = 10;

/// Connects to a Service with these backends, each allowed or not.
pub(super) async fn measure(
    lab: &Lab,
    probe: &Probe,
    backends: &[(PodId, bool)],
    patience: Duration,
) -> Result<Outcome, LabError> {
    let tries = if backends.len() > 1 { TRIES } else { 1 };
    let Traffic::Port(Protocol::Tcp, port) = probe.traffic else {
        let all = (0..tries).map(|_| probe.run(lab, patience));
        return Ok(nameless_verdict(&try_join_all(all).await?, backends));
    };
    let at = SocketAddr::new(lab.address(&probe.to, probe.family)?, port);
    let namespace = lab.namespace(&probe.from)?;
    let from = probe.source(lab)?;
    let all = (0..tries).map(|_| fetch(namespace, at, from, patience));
    Ok(verdict(&try_join_all(all).await?, backends))
}

/// The combined outcome: a wrong one, if there is any.
fn verdict(answers: &[Result<Page, Outcome>], backends: &[(PodId, bool)]) -> Outcome {
    let may =
        |name: &str| backends.iter().any(|(pod, allowed)| *allowed && pod.to_string() == name);
    let all_may = backends.iter().all(|(_, allowed)| *allowed);
    let mut answered = false;
    for answer in answers {
        match answer {
            Ok(page) if may(&page.by) => answered = true,
            Ok(page) => return Outcome::Error(format!("{} answered", page.by)),
            Err(Outcome::TimedOut) if !all_may => {}
            Err(other) => return other.clone(),
        }
    }
    if answered { Outcome::Open } else { Outcome::TimedOut }
}

/// The same for answers without the sender's name.
fn nameless_verdict(answers: &[Outcome], backends: &[(PodId, bool)]) -> Outcome {
    let some = backends.iter().any(|(_, allowed)| *allowed);
    let usual = if some { Outcome::Open } else { Outcome::TimedOut };
    let mixed = some && !backends.iter().all(|(_, allowed)| *allowed);
    if mixed && answers.contains(&usual) {
        return usual;
    }
    answers.iter().find(|it| **it != usual).cloned().unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(by: &str) -> Result<Page, Outcome> {
        Ok(Page { by: by.to_owned(), client: [10, 0, 0, 1].into() })
    }

    fn backends(first: bool, second: bool) -> Vec<(PodId, bool)> {
        vec![(PodId::new("n", "a"), first), (PodId::new("n", "b"), second)]
    }

    const DROPPED: Result<Page, Outcome> = Err(Outcome::TimedOut);

    #[test]
    fn a_wrong_answer_decides_the_outcome() {
        use Outcome::{Open, TimedOut};
        let mixed = [page("n/a"), DROPPED];
        assert_eq!(verdict(&mixed, &backends(true, false)), Open);
        assert_eq!(verdict(&mixed, &backends(true, true)), TimedOut);
        assert_eq!(verdict(&[page("n/a"), page("n/b")], &backends(true, true)), Open);
        assert_eq!(verdict(&[DROPPED, DROPPED], &backends(false, false)), TimedOut);
        for wrong in [page("n/b"), page("n/c")] {
            let outcome = verdict(&[page("n/a"), wrong], &backends(true, false));
            assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
        }
        for (answers, first, second, expected) in [
            ([Open, TimedOut], true, false, Open),
            ([Open, TimedOut], true, true, TimedOut),
            ([Open, TimedOut], false, false, Open),
            ([TimedOut, TimedOut], true, false, TimedOut),
            ([TimedOut, TimedOut], false, false, TimedOut),
        ] {
            assert_eq!(nameless_verdict(&answers, &backends(first, second)), expected);
        }
        let refused = [page("n/a"), Err(Outcome::Refused)];
        assert_eq!(verdict(&refused, &backends(true, false)), Outcome::Refused);
    }
}
