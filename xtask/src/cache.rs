//! This user's cache folder: compilers, tools and kernels that are fetched once.
//!
//! A folder that has its final name is complete: it is filled under another name first.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::ui;

/// Returns `name` below the cache folder; `fill` fills it if it does not exist yet.
///
/// # Errors
/// The cache folder can't be written, or `fill` fails.
pub(crate) fn folder(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    folder_if(name, Path::is_dir, fill)
}

/// Returns `name` below the cache folder; `fill` replaces it unless it `is_good`.
///
/// # Errors
/// The cache folder can't be written, or `fill` fails.
pub(crate) fn folder_if(
    name: &str,
    is_good: impl Fn(&Path) -> bool,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = root()?;
    let folder = cache.join(name);
    if !is_good(&folder) {
        let _lock = lock(&cache)?;
        // Another process may have filled it while this one waited.
        if !is_good(&folder) {
            replace(&folder, fill)?;
        }
    }
    Ok(folder)
}

/// `$XDG_CACHE_HOME/enforcer`, else `~/.cache/enforcer`.
///
/// # Errors
/// Neither variable is set.
pub(crate) fn root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME")
        // The specification requires that a relative path is ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .context("there is no cache folder: set XDG_CACHE_HOME or HOME")?;
    Ok(base.join("enforcer"))
}

/// Fills a folder under another name and then renames it.
fn replace(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("can't make {}", partial.display()))?;
    fill(&partial)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&partial, folder).with_context(|| format!("can't make {}", folder.display()))
}

/// Locks the cache folder until the file is dropped, so that only one process fills it.
fn lock(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("can't make {}", cache.display()))?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    let waited = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            ui::print(format_args!("  waiting for another process that fills {}", cache.display()));
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    waited.with_context(|| format!("can't lock {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_folder_that_could_not_be_filled_does_not_exist() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tools/one");
        assert!(replace(&folder, |_| bail!("no")).is_err());
        assert!(!folder.exists());
        for name in ["old", "new"] {
            replace(&folder, |partial| Ok(fs::write(partial.join(name), "")?)).unwrap();
        }
        assert!(folder.join("new").is_file() && !folder.join("old").exists());
    }
}
