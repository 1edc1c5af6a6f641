//! `release-notes`: the changelog's section on a version, which everything must have.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Files that name the version, with the text around it.
const PLACES: [(&str, &str); 5] = [
    ("Cargo.toml", "\nversion = \"VERSION\"\n"),
    ("deploy/helm/enforcer/Chart.yaml", "\nversion: VERSION\n"),
    ("deploy/helm/enforcer/Chart.yaml", "\nappVersion: \"VERSION\"\n"),
    ("deploy/kustomize/base/daemon-set.yaml", "image: enforcer:VERSION\n"),
    ("deploy/kustomize/uninstall/daemon-set.yaml", "image: enforcer:VERSION\n"),
];

/// The section on a version, without its heading.
///
/// # Errors
/// A file has another version, or the changelog has no such section, or an empty one.
pub(crate) fn notes(root: &Path, version: &str) -> Result<String> {
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("can't read {name}"))
    };
    for (name, place) in PLACES {
        let expected = place.replace("VERSION", version);
        if !read(name)?.contains(&expected) {
            bail!("{name} has another version: it should contain `{}`", expected.trim());
        }
    }
    section(&read("CHANGELOG.md")?, version)
        .with_context(|| format!("CHANGELOG.md has no section [{version}], or an empty one"))
}

fn section(changelog: &str, version: &str) -> Option<String> {
    let heading = format!("## [{version}]");
    let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&heading));
    lines.next()?;
    let of_section = lines.take_while(|line| !line.starts_with("## "));
    let text = of_section.collect::<Vec<_>>().join("\n");
    let text = text.trim();
    (!text.is_empty()).then(|| format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n## [1.1.0] - 2026-12-01\n\n\
        ### Added\n\n- This.\n\n## [1.0.0] - 2026-11-01\n\n- That.\n";

    #[test]
    fn a_section_ends_with_the_next_one() {
        assert_eq!(section(CHANGELOG, "1.1.0").as_deref(), Some("### Added\n\n- This.\n"));
        assert_eq!(section(CHANGELOG, "1.0.0").as_deref(), Some("- That.\n"));
        for absent in ["1.1", "2.0.0", "Unreleased", "1.1.0-rc.1"] {
            assert_eq!(section(CHANGELOG, absent), None, "{absent}");
        }
    }

    #[test]
    fn every_file_has_the_version() {
        let root = workspace::root().unwrap();
        // The section comes with the release.
        let error = notes(&root, env!("CARGO_PKG_VERSION")).err().map(|it| format!("{it:#}"));
        assert!(error.as_deref().is_none_or(|it| it.starts_with("CHANGELOG.md")), "{error:?}");
        let error = format!("{:#}", notes(&root, "99.0.0").unwrap_err());
        assert!(error.starts_with("Cargo.toml has another version"), "{error}");
    }
}
