//! What a person names as the place of manifests: files, folders, standard input, or a pipe.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::ManifestError;
use super::file::MOST_BYTES;

/// The path that stands for standard input.
const STDIN: &str = "-";
/// The name of standard input in reports.
const STDIN_NAME: &str = "<stdin>";

/// Manifests to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file or a folder.
    Path(PathBuf),
    /// What came through standard input or a pipe: it can't be read again.
    Text {
        /// What stands for it in reports.
        name: PathBuf,
        /// At most one byte more than a file may have, which the reader of manifests reports.
        bytes: Arc<[u8]>,
    },
}

impl Input {
    /// What a path names; `-` is standard input. Reads what can be read only once: standard input, and pipes
    /// such as the shell's `<(…)`.
    ///
    /// # Errors
    /// The path is missing, a pipe can't be read, or standard input was read before.
    pub fn open(path: PathBuf) -> Result<Self, ManifestError> {
        if is_stdin(&path) {
            return standard().map_err(|error| ManifestError::Missing { path, error });
        }
        let kind = |path: &Path| fs::metadata(path).map(|it| it.is_file() || it.is_dir());
        let opened = kind(&path).and_then(|comes_back| match comes_back {
            true => Ok(Self::Path(path.clone())),
            false => text(&path, File::open(&path)?),
        });
        opened.map_err(|error| ManifestError::Missing { path, error })
    }

    /// What stands for it in reports.
    #[must_use]
    pub fn name(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Text { name, .. } => name,
        }
    }

    /// Whether nothing came through standard input or a pipe: what should have written to it failed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Text { bytes, .. } if bytes.trim_ascii().is_empty())
    }

    /// Opens each of these.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_all(paths: Vec<PathBuf>) -> Result<Vec<Self>, ManifestError> {
        paths.into_iter().map(Self::open).collect()
    }
}

/// Whether the path stands for standard input.
#[must_use]
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

fn standard() -> io::Result<Input> {
    static WAS_READ: AtomicBool = AtomicBool::new(false);
    if WAS_READ.swap(true, Ordering::Relaxed) {
        // It would look empty, and so declare nothing.
        return Err(io::Error::other("standard input can be read only once"));
    }
    text(Path::new(STDIN_NAME), io::stdin().lock())
}

fn text(name: &Path, source: impl Read) -> io::Result<Input> {
    let mut bytes = Vec::new();
    source.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Input::Text { name: name.to_owned(), bytes: bytes.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_not_read_and_the_rest_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || fs::write(path, "kind: Pod").unwrap()
        });
        let bytes = Arc::from(*b"kind: Pod");
        assert_eq!(Input::open(path.clone()).unwrap(), Input::Text { name: path, bytes });
        writer.join().unwrap();
        let here = folder.path().to_owned();
        assert_eq!(Input::open(here.clone()).unwrap(), Input::Path(here));
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = Input::open("/does/not/exist".into()).unwrap_err();
        assert!(error.to_string().starts_with("/does/not/exist: No such file"), "{error}");
    }
}
