//! Why manifests can't be read.

use std::path::PathBuf;

/// Errors that prevent reading manifests at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or folder is missing, or what is read only once can't be read.
    #[error("{}: {error}", path.display())]
    Missing {
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// Neither a file nor a folder, so that changes can't be watched.
    #[error("{} is neither a file nor a folder: its changes can't be watched", _0.display())]
    Unwatchable(PathBuf),
    /// The files can't be watched.
    #[error("can't watch the manifests: {0}")]
    Watch(#[from] notify::Error),
    /// Reading stopped unexpectedly.
    #[error("reading the manifests stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}
