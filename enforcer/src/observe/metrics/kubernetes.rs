//! Metrics of the Kubernetes API: how its watches do, and what it was told.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::super::{EventReport, WatchReport};
use super::{put_counter, put_gauge};
use crate::source::kubernetes::Phase;

/// Whether the watches of the Kubernetes API hear of changes, and what they hold.
pub(super) fn watches(encoder: &mut DescriptorEncoder<'_>, watches: &[WatchReport]) -> fmt::Result {
    if watches.is_empty() {
        return Ok(());
    }
    let help = "1 for what a watch of the Kubernetes API is about: listing (not complete), synced \
                (hears of every change), reconnecting (what was last heard stays in effect).";
    let mut family = encoder.encode_descriptor("watch_state", help, None, MetricType::Gauge)?;
    for watch in watches {
        for state in Phase::ALL.map(Phase::name) {
            let labels = [("kind", &*watch.kind), ("state", state)];
            put_gauge(&mut family, &labels, u64::from(state == watch.state))?;
        }
    }
    let help = "Since when the API server has shown no sign of life on a watch; it is heard of once \
                a minute though nothing changes.";
    let (gauge, unit) = (MetricType::Gauge, Some(&Unit::Seconds));
    let mut family = encoder.encode_descriptor("watch_silence", help, unit, gauge)?;
    for watch in watches {
        if let Some(seconds) = watch.silent_seconds {
            put_gauge(&mut family, &[("kind", &*watch.kind)], seconds)?;
        }
    }
    type Of = (&'static str, &'static str, fn(&WatchReport) -> u64);
    let gauges: [Of; 2] = [
        ("watch_objects", "Objects known of the Kubernetes API.", |it| it.objects),
        (
            "watch_bad_objects",
            "Objects that can't be taken as they are: the last good version is in effect, or none.",
            |it| it.bad_objects,
        ),
    ];
    for (name, help, of) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for watch in watches {
            put_gauge(&mut family, &[("kind", &*watch.kind)], of(watch))?;
        }
    }
    let counters: [Of; 2] = [
        ("watch_lists", "Lists of the Kubernetes API begun, the first included.", |it| it.lists),
        ("watch_errors", "Lists and watches of the Kubernetes API that failed.", |it| it.errors),
    ];
    for (name, help, of) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for watch in watches {
            put_counter(&mut family, &[("kind", &*watch.kind)], of(watch))?;
        }
    }
    Ok(())
}

/// What became of the Events.
pub(super) fn events(encoder: &mut DescriptorEncoder<'_>, events: EventReport) -> fmt::Result {
    let help = "Kubernetes Events on policies: posted, existing (another node had made the same), \
                failed, put-off (too many waited).";
    let name = "kubernetes_events";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let EventReport { posted, existing, failed, put_off } = events;
    let results =
        [("posted", posted), ("existing", existing), ("failed", failed), ("put-off", put_off)];
    results
        .iter()
        .try_for_each(|(name, count)| put_counter(&mut family, &[("result", *name)], *count))
}
