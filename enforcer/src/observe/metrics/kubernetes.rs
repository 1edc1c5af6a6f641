//! Metrics of the Kubernetes API: its watches, and the agent's Events.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::super::{EventReport, WatchReport};
use super::encode::{counters, gauges};
use crate::source::kubernetes::Phase;

/// Encodes the state of the watches, if there are any.
pub(super) fn watches(encoder: &mut DescriptorEncoder<'_>, watches: &[WatchReport]) -> fmt::Result {
    if watches.is_empty() {
        return Ok(());
    }
    let help = "1 for the state of a watch of the Kubernetes API: listing (not complete), synced \
                (receives every change), reconnecting (the last known state stays active).";
    let states = watches.iter().flat_map(|watch| {
        Phase::ALL.map(Phase::name).map(|state| {
            ([("kind", &*watch.kind), ("state", state)], u64::from(state == watch.state))
        })
    });
    gauges(encoder, "watch_state", help, states)?;
    let help = "Seconds since the API server last sent data on a watch. Without changes it sends none \
                until the watch is renewed, after less than five minutes; watch_state shows a lost \
                connection.";
    let (gauge, unit) = (MetricType::Gauge, Some(&Unit::Seconds));
    let mut family = encoder.encode_descriptor("watch_silence", help, unit, gauge)?;
    for watch in watches {
        if let Some(seconds) = watch.silent_seconds {
            family.encode_family(&[("kind", &*watch.kind)])?.encode_gauge(&seconds)?;
        }
    }
    let by_kind = |of: fn(&WatchReport) -> u64| {
        watches.iter().map(move |watch| ([("kind", &*watch.kind)], of(watch)))
    };
    let help = "Known objects of the Kubernetes API.";
    gauges(encoder, "watch_objects", help, by_kind(|it| it.objects))?;
    let help = "Objects that can't be used as they are: what can be read of them is active; policies allow nothing of what is \
         not understood.";
    gauges(encoder, "watch_bad_objects", help, by_kind(|it| it.bad_objects))?;
    let help = "Started lists of the Kubernetes API, including the first.";
    counters(encoder, "watch_lists", help, by_kind(|it| it.lists))?;
    let help = "Failed lists and watches of the Kubernetes API.";
    counters(encoder, "watch_errors", help, by_kind(|it| it.errors))
}

/// Encodes the results of the Events.
pub(super) fn events(encoder: &mut DescriptorEncoder<'_>, events: EventReport) -> fmt::Result {
    let help = "Kubernetes Events on policies by result: posted, existing (another node had created \
                the same), failed, put-off (too many waited).";
    let EventReport { posted, existing, failed, put_off } = events;
    let results =
        [("posted", posted), ("existing", existing), ("failed", failed), ("put-off", put_off)];
    let results = results.map(|(name, count)| ([("result", name)], count));
    counters(encoder, "kubernetes_events", help, results)
}
