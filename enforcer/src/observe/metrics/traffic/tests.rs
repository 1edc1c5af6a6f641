use super::super::super::fixture;
use super::super::Metrics;
use super::*;

fn series(report: Report, by: PodMetrics) -> Vec<String> {
    let text = Metrics::new(by).text(report);
    let names = ["enforcer_drops_total", "enforcer_packets_total", "enforcer_bytes_total"];
    let ours = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    ours.map(str::to_owned).collect()
}

#[test]
fn by_namespace() {
    insta::assert_snapshot!(series(fixture::report(), PodMetrics::Namespace).join("\n"));
}

#[test]
fn by_node() {
    insta::assert_snapshot!(series(fixture::report(), PodMetrics::Node).join("\n"));
}

#[test]
fn series_of_a_pod_end_with_it() {
    let mut report = fixture::report();
    let of_pod1 = |report: &Report| {
        series(report.clone(), PodMetrics::Pod).iter().any(|it| it.contains("pod=\"pod1\""))
    };
    assert!(of_pod1(&report));
    report.endpoints.retain(|it| it.pod.name != "pod1");
    assert!(!of_pod1(&report));
}

#[test]
fn interfaces_of_one_pod_are_summed() {
    let mut report = fixture::report();
    let again = report.endpoints[0].clone();
    let labels = r#"namespace="hello",pod="pod1",direction="ingress",reason="denied""#;
    let drops = |report: &Report, count: u64| {
        let line = format!("enforcer_drops_total{{{labels}}} {count}");
        series(report.clone(), PodMetrics::Pod).contains(&line)
    };
    assert!(drops(&report, 5));
    report.endpoints.push(again);
    assert!(drops(&report, 10));
}

/// A node with `pods` pods in `namespaces` namespaces. Half of them are isolated both ways. They have
/// the usual counters of such pods, or, at `worst`, all counters.
fn node(pods: usize, namespaces: usize, worst: bool) -> Report {
    use Reason::{Denied, Link, Node, NotIsolated, Policy, Reply};
    let mut report = Report::default();
    let template = fixture::report().endpoints.remove(0);
    for index in 0..pods {
        let isolated = index % 2 == 0;
        let mut counters = Counters::default();
        for direction in Direction::ALL {
            let judged = if isolated { [Policy, Denied] } else { [NotIsolated; 2] };
            let usual = [Reply, Link].into_iter().chain(judged);
            let usual = usual.filter(|it| isolated || *it != Reply);
            // The kubelet's probes.
            let usual: Vec<_> =
                usual.chain((direction == Direction::Ingress).then_some(Node)).collect();
            let all = if worst { Reason::ALL.to_vec() } else { usual };
            for reason in all {
                counters.counts[direction as usize][reason as usize] =
                    Count { packets: 1, bytes: 60 };
            }
        }
        let namespace = format!("namespace-{}", index % namespaces);
        let total = report.namespaces_total.entry(namespace.clone()).or_default();
        *total = total.plus(&counters);
        let mut endpoint = template.clone();
        endpoint.pod = PodId::new(&namespace, format!("pod-{index}"));
        endpoint.counters = counters;
        endpoint.ingress = if isolated { Isolation::Isolated } else { Isolation::NotIsolated };
        endpoint.egress = endpoint.ingress;
        report.endpoints.push(endpoint);
    }
    report
}

/// The number of series of each setting, as the README has it.
#[test]
fn number_of_series() {
    let count = |pods, namespaces, worst, by| series(node(pods, namespaces, worst), by).len();
    let mut table = Vec::new();
    for (pods, namespaces) in [(30, 10), (250, 30)] {
        for by in [PodMetrics::Pod, PodMetrics::Namespace, PodMetrics::Node] {
            let usual = count(pods, namespaces, false, by);
            let most = count(pods, namespaces, true, by);
            table.push(format!(
                "{pods} pods, {namespaces} namespaces, {by:?}: {usual}, at most {most}"
            ));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}
