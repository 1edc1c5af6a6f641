//! Writes a cpio archive in the "newc" format, which the kernel unpacks as its first file system
//! (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// Type bits of a mode, from stat(2).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Names the end of an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written. Folders come before what is in them.
pub(super) struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Adds a folder; its name, like every name here, is relative to the root.
    pub(super) fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file that may be run.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name, FILE | 0o755, (0, 0), content)
    }

    /// Adds a character device by its major and minor number.
    pub(super) fn device(&mut self, name: &str, number: (u32, u32)) -> io::Result<()> {
        self.entry(name, CHARACTER_DEVICE | 0o600, number, &[])
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // Inode, mode, uid, gid, links, time, size, device, special device, length of the name,
        // checksum (unused in this format).
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        let mut head = String::from("070701");
        for field in fields {
            head.push_str(&format!("{field:08x}"));
        }
        head.push_str(name);
        head.push('\0');
        self.out.write_all(head.as_bytes())?;
        self.pad(head.len())?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Head and content each end at a multiple of four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_kernel_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.device("dev/console", (5, 1)).unwrap();
        let bytes = archive.finish().unwrap();
        let expected = "070701\
            00000001\
            00002180\
            00000000\
            00000000\
            00000001\
            00000000\
            00000000\
            00000000\
            00000000\
            00000005\
            00000001\
            0000000c\
            00000000\
            dev/console\0\0\0";
        assert_eq!(std::str::from_utf8(&bytes[..expected.len()]).unwrap(), expected);
        assert_eq!(expected.len() % 4, 0);
    }

    #[test]
    fn every_part_is_padded_whatever_its_length() {
        for length in 0..9 {
            let mut archive = Archive::new(Vec::new());
            archive.folder("d").unwrap();
            archive.program("d/file", &vec![b'x'; length]).unwrap();
            let bytes = archive.finish().unwrap();
            assert_eq!(bytes.len() % 4, 0);
            let mut at = 0;
            let mut names = Vec::new();
            while at < bytes.len() {
                let head = std::str::from_utf8(&bytes[at..at + 110]).unwrap();
                assert_eq!(&head[..6], "070701");
                let field = |index: usize| {
                    usize::from_str_radix(&head[6 + index * 8..14 + index * 8], 16).unwrap()
                };
                let (size, name) = (field(6), field(11));
                names.push(String::from_utf8(bytes[at + 110..at + 109 + name].to_vec()).unwrap());
                at = (at + 110 + name).next_multiple_of(4);
                assert!(bytes[at..at + size].iter().all(|it| *it == b'x'));
                at = (at + size).next_multiple_of(4);
            }
            assert_eq!(names, ["d", "d/file", "TRAILER!!!"]);
        }
    }
}
