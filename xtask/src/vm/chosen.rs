//! The kernels to boot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::archive::{self, Kernel};
use crate::cli::{Series, VmTest};

/// A kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// One of the archive's.
    Series(Series),
    /// An image with everything built in.
    Image(PathBuf),
}

impl Chosen {
    /// Those of the options; all series if none is named.
    pub(super) fn of(options: &VmTest) -> Vec<Self> {
        if !options.images.is_empty() {
            return options.images.iter().cloned().map(Self::Image).collect();
        }
        let all = Series::value_variants();
        let chosen = if options.kernels.is_empty() { all } else { &options.kernels };
        chosen.iter().copied().map(Self::Series).collect()
    }

    /// What people call it: an image by its path.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Series(series) => name(*series),
            Self::Image(path) => path.display().to_string(),
        }
    }

    /// The name as part of a file's name.
    pub(super) fn file_name(&self) -> String {
        self.name().replace(['/', ' '], "-")
    }

    /// The image and its modules.
    ///
    /// # Errors
    /// The archive can't be read, or there is no such image.
    pub(super) fn obtain(&self, refresh: bool) -> Result<Kernel> {
        match self {
            Self::Series(series) => archive::obtain(*series, refresh),
            Self::Image(path) => image(path),
        }
    }
}

fn image(path: &Path) -> Result<Kernel> {
    let found = path.canonicalize().and_then(|it| it.metadata().map(|meta| (it, meta)));
    let (image, meta) =
        found.with_context(|| format!("--image {}: can't be read", path.display()))?;
    anyhow::ensure!(meta.is_file(), "--image {}: this is no file", path.display());
    Ok(Kernel { image, modules: Vec::new(), lab: Vec::new() })
}

fn name(series: Series) -> String {
    series.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_named_as_one_types_them() {
        let names: Vec<_> = Series::value_variants().iter().map(|it| name(*it)).collect();
        assert_eq!(names, ["5.10", "6.1", "6.12", "newest"]);
    }

    #[test]
    fn images_replace_the_archives_kernels() {
        let options = super::super::tests::options(&[]);
        assert_eq!(Chosen::of(&options).len(), Series::value_variants().len());
        let images = vec![PathBuf::from("build/bzImage")];
        let chosen = Chosen::of(&VmTest { images, ..options });
        assert_eq!(chosen, [Chosen::Image("build/bzImage".into())]);
        assert_eq!(
            (&*chosen[0].name(), &*chosen[0].file_name()),
            ("build/bzImage", "build-bzImage")
        );
        let error = chosen[0].obtain(false).unwrap_err();
        assert_eq!(error.to_string(), "--image build/bzImage: can't be read");
        let folder = Chosen::Image("/".into()).obtain(false).unwrap_err();
        assert_eq!(folder.to_string(), "--image /: this is no file");
    }
}
