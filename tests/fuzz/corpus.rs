//! Frames as files: hexadecimal digits, with comments after `#`.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// All frames of a folder, by file name.
pub(crate) fn read(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "hex")).collect();
    paths.sort();
    paths.iter().map(|path| parse(&fs::read_to_string(path).unwrap())).collect()
}

fn parse(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits: Vec<u8> = lines
        .flat_map(str::chars)
        .filter(|it| !it.is_whitespace())
        .map(|it| u8::try_from(it.to_digit(16).expect("a hexadecimal digit")).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).expect("two digits a byte")).collect()
}

fn render(frame: &[u8], remark: &str) -> String {
    let mut text: String = remark.lines().map(|line| format!("# {line}\n")).collect();
    for line in frame.chunks(16) {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "{}", bytes.join(" "));
    }
    text
}

/// Keeps a frame that failed.
pub(crate) fn keep(frame: &[u8], remark: &str) -> PathBuf {
    let mut hash = DefaultHasher::new();
    frame.hash(&mut hash);
    let path = folder("failures").join(format!("{:016x}.hex", hash.finish()));
    fs::write(&path, render(frame, remark)).unwrap();
    path
}

#[test]
fn written_frames_are_read_back() {
    let frame: Vec<u8> = (0..=255).collect();
    assert_eq!(parse(&render(&frame, "all\nbytes")), frame);
    assert_eq!(parse("# none\n\n0a FF # two\n"), [10, 255]);
}
