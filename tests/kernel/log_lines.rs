//! The programs' own log, which is off by default.

use std::sync::Mutex;

use enforcer::kernel::Settings;
use enforcer_ebpf::contract::verdict::Direction;
use enforcer_tests::rig::Rig;

use crate::support::{subject, with_rig_of};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        // Libraries log as well.
        if line.contains("can't be judged") {
            LINES.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

/// Sends a frame of an unsupported ether type (LLDP).
fn foreign(rig: &mut Rig) {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&0x88cc_u16.to_be_bytes());
    let outcome = rig.judge(&subject(), Direction::Ingress, &frame).unwrap();
    assert!(!outcome.passes);
}

#[test]
fn the_programs_log_unreadable_packets_if_enabled() {
    log::set_logger(&Lines).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    for log in [false, true] {
        with_rig_of(&Settings { log, ..Settings::default() }, |rig| {
            let mut reader = rig.kernel.take_log().unwrap();
            foreign(rig);
            reader.flush();
        });
        let lines = std::mem::take(&mut *LINES.lock().unwrap());
        assert_eq!(lines.len(), usize::from(log), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("ether type 0x88cc")), "{lines:?}");
    }
}
