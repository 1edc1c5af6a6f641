//! Which flows are shown.

use clap::{Args, ValueEnum};
use enforcer_core::flows::Verdict;
use jiff::{SignedDuration, Timestamp};

use crate::observe::{FlowRecord, Flows};

/// The conditions that a flow must meet; none: each flow is shown.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only flows with an end in this namespace, and its policies.
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Only flows with this verdict; several with commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub verdict: Vec<VerdictArg>,
    /// Only flows with a packet within this time before the agent's last look, such as 90s, 15m or 1h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<SignedDuration>,
}

/// A verdict on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    /// Policies allow it.
    Allowed,
    /// A policy isolates an end and no rule allows it.
    Denied,
    /// Allowed, but not by the policies in audit.
    WouldDeny,
    /// Denied, but not by the policies in audit.
    WouldAllow,
}

impl VerdictArg {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Allowed => Verdict::Allowed,
            Self::Denied => Verdict::Denied,
            Self::WouldDeny => Verdict::WouldDeny,
            Self::WouldAllow => Verdict::WouldAllow,
        }
    }
}

/// A duration that is not negative.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let expected = "write a number and a unit, such as 90s, 15m, 1h or 2d";
    // A day has 24 hours here: the duration is subtracted from a point in time.
    let hours = text.strip_suffix('d').and_then(|it| it.parse::<i64>().ok()?.checked_mul(24));
    let duration = match hours {
        Some(hours) => format!("{hours}h").parse::<SignedDuration>(),
        None => text.parse(),
    };
    duration.ok().filter(|it| !it.is_negative()).ok_or_else(|| expected.to_owned())
}

impl Filter {
    /// Removes the flows, and the policies of other namespaces, that are not wanted.
    pub(in crate::cli) fn apply(&self, flows: &mut Flows) {
        // The agent's clock: that of this machine may differ.
        let now = flows.at.parse().unwrap_or_else(|_| Timestamp::now());
        let oldest = self.since.map(|it| now.checked_sub(it).unwrap_or(Timestamp::MIN));
        flows.flows.retain(|it| self.wants(it, oldest));
        if let Some(namespace) = &self.namespace {
            flows.policies.retain(|it| it.policy.split('/').next() == Some(namespace));
        }
    }

    fn wants(&self, flow: &FlowRecord, oldest: Option<Timestamp>) -> bool {
        let last = || flow.last_seen.parse::<Timestamp>().unwrap_or(Timestamp::MAX);
        self.namespace.as_ref().is_none_or(|it| flow.is_in(it))
            && oldest.is_none_or(|oldest| last() >= oldest)
            && (self.verdict.is_empty()
                || self.verdict.iter().any(|it| it.verdict().name() == flow.verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("2d", 172_800)]
        {
            assert_eq!(duration(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "an hour", "-1h", "99999999999999999d"] {
            assert!(duration(text).unwrap_err().contains("such as"), "{text}");
        }
    }

    #[test]
    fn verdict_and_time() {
        let flow = |verdict: &str, last: &str| FlowRecord {
            verdict: verdict.to_owned(),
            last_seen: format!("2026-11-27T{last}Z"),
            ..FlowRecord::default()
        };
        let flows = Flows {
            at: "2026-11-27T12:00:00Z".to_owned(),
            flows: vec![
                flow("denied", "12:00:05"),
                flow("denied", "11:00:00"),
                flow("denied", "10:59:59"),
                flow("would-deny", "11:59:00"),
                flow("allowed", "11:59:00"),
            ],
            ..Flows::default()
        };
        let shown = |filter: &Filter| {
            let mut flows = flows.clone();
            filter.apply(&mut flows);
            flows.flows.len()
        };
        assert_eq!(shown(&Filter::default()), 5);
        let hour = Filter { since: Some(SignedDuration::from_hours(1)), ..Filter::default() };
        assert_eq!(shown(&hour), 4);
        assert_eq!(shown(&Filter { verdict: vec![VerdictArg::Denied], ..hour.clone() }), 2);
        let both = vec![VerdictArg::Denied, VerdictArg::WouldDeny];
        assert_eq!(shown(&Filter { verdict: both, ..hour }), 3);
        let ever = Filter { since: Some(SignedDuration::MAX), ..Filter::default() };
        assert_eq!(shown(&ever), 5);
    }
}
