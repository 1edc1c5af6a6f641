//! Tar archives whose bytes depend only on their contents and one time.

use std::io::Write;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// A file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The path, without a leading slash.
    pub(super) path: String,
    /// The permission bits.
    pub(super) mode: u32,
    /// The content; none for a folder.
    pub(super) content: Option<Vec<u8>>,
}

impl Entry {
    /// A folder that all users may read.
    pub(super) fn folder(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o755, content: None }
    }

    /// A file that all users may read.
    pub(super) fn file(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self { path: path.into(), mode: 0o644, content: Some(content) }
    }

    /// A program that all users may run.
    pub(super) fn program(path: impl Into<String>, content: Vec<u8>) -> Self {
        Self { path: path.into(), mode: 0o755, content: Some(content) }
    }
}

/// Writes the entries sorted by path, so that a folder precedes its files. All belong to root and
/// have the time `time`, in seconds since 1970.
///
/// # Errors
/// `out` fails, or a path doesn't fit into an archive.
pub(super) fn write(out: impl Write, entries: &[Entry], time: u64) -> Result<()> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut archive = Builder::new(out);
    for entry in sorted {
        append(&mut archive, entry, time).with_context(|| format!("can't pack {}", entry.path))?;
    }
    archive.finish()?;
    Ok(())
}

fn append(archive: &mut Builder<impl Write>, entry: &Entry, time: u64) -> Result<()> {
    let mut header = Header::new_ustar();
    let content = entry.content.as_deref().unwrap_or_default();
    header.set_entry_type(match entry.content {
        Some(_) => EntryType::Regular,
        None => EntryType::Directory,
    });
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(u64::try_from(content.len())?);
    // As other tools write folders; without it, some tools read them as files.
    let slash = if entry.content.is_none() { "/" } else { "" };
    archive.append_data(&mut header, format!("{}{slash}", entry.path), content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::program("bin/tool", b"#!".to_vec()),
            Entry::file("bin.txt", b"text".to_vec()),
            Entry::folder("bin"),
        ]
    }

    fn bytes(entries: &[Entry], time: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, entries, time).unwrap();
        out
    }

    #[test]
    fn the_order_of_entries_and_the_clock_change_nothing() {
        let mut reversed = entries();
        reversed.reverse();
        assert_eq!(bytes(&entries(), 7), bytes(&reversed, 7));
        assert_ne!(bytes(&entries(), 7), bytes(&entries(), 8));
    }

    #[test]
    fn another_reader_finds_what_was_written() {
        let packed = bytes(&entries(), 1_700_000_000);
        let mut archive = tar::Archive::new(packed.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((path, header.mode().unwrap(), content));
        }
        let expected = [("bin/", 0o755, ""), ("bin.txt", 0o644, "text"), ("bin/tool", 0o755, "#!")];
        assert_eq!(found, expected.map(|(path, mode, text)| (path.into(), mode, text.into())));
    }
}
