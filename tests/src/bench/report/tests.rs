use super::*;
use crate::bench::cost::{Cost, Costs, Program};
use crate::bench::document::Part;
use crate::bench::floods::Flooded;
use crate::bench::packets::{Figure, Figures};
use crate::bench::traffic::{InPlace, Row, Traffic};

fn document() -> Document {
    let figure = |family| Figure {
        family,
        policies: 1_000,
        peers: 100_000,
        case: "allowed by pod selector".to_owned(),
        flows: 1_000,
        room: 200_000,
        empty: 38.9,
        parse_only: 44.0,
        total: 51.5,
        over_empty: 12.6,
        over_empty_quartiles: [12.1, 13.0],
        over_parse: 7.5,
        ratio: 1.3,
    };
    let row = |setup: &str| Row {
        setup: setup.to_owned(),
        policies: 100,
        one_stream_gbit: 20.0,
        streams_gbit: 21.0,
        connections: 30_000.0,
        connection_cpu_us: 60.0,
        connection_cpu_ratio: 1.05,
        own_cpu_ratio: 1.04,
        datagrams: 400_000.0,
        latency_us: [15.0, 17.0, 30.0, 90.0],
    };
    let cost = Cost {
        case: "not isolated".to_owned(),
        family: 4,
        instructions: 198,
        array_lookups: 4,
        calls: 1,
        lines: 6,
        bytes: 64,
        calls_by_helper: Default::default(),
        lines_by_table: Default::default(),
    };
    let program = Program { program: "to_pod".to_owned(), instructions: 17_000, verified: None };
    let flooded = Flooded {
        setup: "enforcer".to_owned(),
        flood: "SYN".to_owned(),
        target: "isolated".to_owned(),
        sent: 90_000.0,
        gbit: 9.0,
        connections: 12_000.0,
        idle_survives: true,
        displaced: Some(0),
        refused: None,
    };
    let (packet, program_name) = ("forward, to an isolated pod".to_owned(), "to_pod".to_owned());
    let part = |name: &str, load| Part {
        name: name.to_owned(),
        seconds: 30.0,
        load_before: load,
        load_after: load,
    };
    let mut document = Document::new().unwrap();
    document.machine.cpus = 2;
    document.parts = vec![part("packets", 0.2), part("<traffic>", 0.3)];
    document.packets = Some(Figures {
        rounds: 3,
        loads: 2,
        verified_instructions: Vec::new(),
        rows: [4, 6].map(figure).into(),
    });
    document.costs = Some(Costs { packets: vec![cost], programs: vec![program] });
    document.traffic = Some(Traffic {
        rounds: 3,
        rows: ["no policy", "enforcer"].map(row).into(),
        missing: vec!["nftables sets: not measured: nft is missing".to_owned()],
        in_place: vec![InPlace { packet, program: program_name, flows: 1_000, runs: 9, ns: 44.0 }],
    });
    document.floods = Some(vec![flooded]);
    document
}

#[test]
fn the_page_needs_nothing_else_and_names_what_was_not_measured() {
    let page = page::render(&document());
    for foreign in ["http://", "https://", "<script", "@import", "url(/", "<link", "<img"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("not measured: nft is missing"));
    assert!(page.contains("&lt;traffic&gt;") && !page.contains("<traffic>"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert_eq!(page.matches("<svg viewBox").count(), 11, "one for each plot");
}

#[test]
fn a_busy_machine_is_reported() {
    let mut document = document();
    assert!(!page::render(&document).contains("other work"));
    document.parts[0].load_before = 4.0;
    assert!(page::render(&document).contains("other work"));
}

#[test]
fn the_page_of_a_written_document_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &document()).unwrap();
    let page = fs::read_to_string(folder.path().join(PAGE)).unwrap();
    fs::remove_file(folder.path().join(PAGE)).unwrap();
    render(folder.path()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join(PAGE)).unwrap(), page);
}
