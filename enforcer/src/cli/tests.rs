use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn all_agents_are_asked_by_a_pod_as_well() {
    let line =
        "enforcer agents --agents-namespace=a --agents-port=7 --node n problems --output json";
    let Command::Agents(questions) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not agents");
    };
    let agents = questions.agents;
    assert_eq!((agents.agents_namespace.as_str(), agents.agents_port), ("a", 7));
    assert_eq!(agents.node.as_deref(), Some("n"));
    assert!(matches!(questions.command, plugin::PluginCommand::Problems { output: Format::Json }));
}

#[test]
fn marks_are_fifteen_adjacent_bits_beside_kube_proxys() {
    assert_eq!(mark_mask("0xfffe0000"), Ok(0xfffe_0000));
    assert_eq!(mark_mask("7fff0000"), Ok(0x7fff_0000));
    for wrong in ["0", "ffff0000", "0xfffd0000", "zebra", "7fff", "0x1fffc", "3fff8000"] {
        assert!(mark_mask(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn metrics_can_be_off() {
    let listener = |text| listener("--metrics", text);
    assert_eq!(listener("off").unwrap(), None);
    let v6 = Some("[fd00::1]:80".parse().unwrap());
    assert_eq!(listener("[fd00::1]:80").unwrap(), v6);
    assert_eq!(listener("fd00::1:80").unwrap(), v6);
    assert!(listener("fd00::1").is_err());
    assert!(listener("here").is_err());
}

#[test]
fn the_status_stays_on_loopback() {
    let found = |metrics, status| {
        let listeners = listeners(metrics, status, "off").unwrap();
        let text = |it: Option<SocketAddr>| it.map_or("off".to_owned(), |it| it.to_string());
        (text(listeners.metrics), text(listeners.status))
    };
    let of = |metrics: &str, status: &str| (metrics.to_owned(), status.to_owned());
    assert_eq!(found("127.0.0.1:1", None), of("127.0.0.1:1", "127.0.0.1:1"));
    assert_eq!(found("[::1]:1", None), of("[::1]:1", "[::1]:1"));
    assert_eq!(found("10.224.0.4:1", None), of("10.224.0.4:1", "127.0.0.1:1"));
    assert_eq!(found("fd00::1:80", None), of("[fd00::1]:80", "127.0.0.1:80"));
    assert_eq!(found("0.0.0.0:1", None), of("0.0.0.0:1", "off"));
    assert_eq!(found("0.0.0.0:1", Some("127.0.0.1:2")), of("0.0.0.0:1", "127.0.0.1:2"));
    assert_eq!(found("10.224.0.4:1", Some("[::1]:2")), of("10.224.0.4:1", "[::1]:2"));
    assert_eq!(found("127.0.0.1:1", Some("off")), of("127.0.0.1:1", "off"));
    assert_eq!(found("off", None), of("off", "off"));
    assert_eq!(found("off", Some("127.0.0.1:2")), of("off", "127.0.0.1:2"));
    for open in ["10.224.0.4:1", "0.0.0.0:1", "[::]:1", "[fd00::1]:1"] {
        let error = listeners("off", Some(open), "off").unwrap_err().to_string();
        assert!(error.contains("expected a loopback address"), "{error}");
        let error = listeners("off", None, open).unwrap_err().to_string();
        assert!(
            error.contains("--page") && error.contains("expected a loopback address"),
            "{error}"
        );
    }
    let page = listeners("off", None, "127.0.0.1:3").unwrap().page;
    assert_eq!(page, Some("127.0.0.1:3".parse().unwrap()));
}

#[test]
fn causes_are_not_repeated() {
    let io = std::io::Error::from_raw_os_error(1);
    let inner = anyhow::anyhow!(io).context("map EVENTS: Operation not permitted (os error 1)");
    let error = inner.context("cannot load");
    let expected = "cannot load: map EVENTS: Operation not permitted (os error 1)";
    assert_eq!(error_line(&error), expected);
}

/// What a user reads: an example for each subcommand, and none that a terminal of 80 columns breaks.
#[test]
fn each_subcommand_has_examples_of_80_columns() {
    let mut found = 0;
    for mut root in [Cli::command(), plugin::PluginCli::command()] {
        root.build();
        let mut all: Vec<clap::Command> = root.get_subcommands().cloned().collect();
        while let Some(command) = all.pop() {
            let name = command.get_name().to_owned();
            if name == "help" {
                continue;
            }
            all.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Example").map(|(_, it)| it.lines().skip(1));
            let examples: Vec<&str> = examples.into_iter().flatten().collect();
            assert!(!examples.is_empty(), "{name} has no example");
            for line in examples {
                let width = line.chars().count();
                assert!(width <= 80, "{name}: {width} columns: {line}");
                found += 1;
            }
        }
    }
    assert!(found > 60, "{found}");
}
