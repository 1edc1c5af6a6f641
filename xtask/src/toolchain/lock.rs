//! One installation at a time: two builds started together must not unpack over each other.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

use crate::ui;

/// Takes the cache folder's lock, and says so when it has to wait. It is freed with the file.
pub(crate) fn take(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("can't make {}", cache.display()))?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            ui::say("  Waiting for another build that is installing the toolchain.");
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("can't lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("can't lock {}", path.display()))?;
    Ok(file)
}
