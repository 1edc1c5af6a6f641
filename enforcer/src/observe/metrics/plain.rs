//! The same metrics in the older text format, for readers that do not ask for OpenMetrics.

/// OpenMetrics text in Prometheus' text format, version 0.0.4: counters and infos are named as their samples
/// are, units and the end are not written.
pub(in crate::observe) fn plain(open: &str) -> String {
    let mut plain = String::with_capacity(open.len());
    let mut help = "";
    for line in open.lines() {
        if line.starts_with("# HELP ") {
            // Its name depends on the type, which follows.
            help = line;
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let text = help.splitn(4, ' ').nth(3).unwrap_or_default();
            plain
                .push_str(&format!("# HELP {name}{suffix} {text}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_named_as_their_samples() {
        let open = "# HELP a_build What it is.\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n\
                    # HELP a_drops Drops.\n# TYPE a_drops counter\na_drops_total{x=\"#\"} 3\n\
                    # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\n\
                    # UNIT a_wait_seconds seconds\na_wait_seconds_sum 0.5\n# EOF\n";
        let expected = "# HELP a_build_info What it is.\n# TYPE a_build_info gauge\n\
                        a_build_info{v=\"1\"} 1\n\
                        # HELP a_drops_total Drops.\n# TYPE a_drops_total counter\n\
                        a_drops_total{x=\"#\"} 3\n\
                        # HELP a_wait_seconds Waits.\n# TYPE a_wait_seconds histogram\n\
                        a_wait_seconds_sum 0.5\n";
        assert_eq!(plain(open), expected);
    }
}
