//! The licences of the program's parts: most of them require that their text goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use spdx::{AdditionItem, Expression, LicenseItem, ParseMode};

use super::parts::{Part, Parts};

/// Prefixes of the names of licence files.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// Lists the parts, then each licence text with its parts.
///
/// # Errors
/// A part's files can't be read, or it has neither a licence text nor the name of a licence.
pub(super) fn write(parts: &Parts) -> Result<Vec<u8>> {
    let mut out = String::from(
        "The program contains the software below, in whole or in part. The terms follow the list.\n\
         The program can be built again, with other versions of all this, from its own sources.\n\n",
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for part in std::iter::once(&parts.agent).chain(&parts.others) {
        let name = format!("{} {}", part.id.0, part.id.1);
        let licence = part.licence.as_deref().unwrap_or("see below");
        let home = part.home.as_deref().unwrap_or_default();
        writeln!(out, "{}", format!("{name}  {licence}  {home}").trim_end())?;
        for text in texts_of(part).with_context(|| format!("can't find the licence of {name}"))? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    let mut by_owner: Vec<_> = texts.into_iter().collect();
    by_owner.sort_by(|(_, one), (_, other)| one.cmp(other));
    for (text, owners) in by_owner {
        let owners: Vec<_> = owners.into_iter().collect();
        write!(out, "\n{}\n{}\n\n{text}\n", "=".repeat(80), owners.join(", "))?;
    }
    Ok(out.into_bytes())
}

/// The part's licence files, else the published texts of the licences that it names.
fn texts_of(part: &Part) -> Result<BTreeSet<String>> {
    let mut found = part.folder.as_deref().map(files).transpose()?.unwrap_or_default();
    if found.is_empty() {
        found = published(part.licence.as_deref().unwrap_or_default())?;
    }
    if found.is_empty() {
        bail!("it has no licence file and names no licence");
    }
    Ok(found)
}

fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let read = || -> Result<BTreeSet<String>> {
        let mut texts = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_uppercase();
            // Source files may have such a name, too.
            let is_text = !name.ends_with(".RS") && entry.path().is_file();
            if is_text && NAMES.iter().any(|begin| name.starts_with(begin)) {
                let text = fs::read(entry.path())?;
                texts.insert(plain(&String::from_utf8_lossy(&text)));
            }
        }
        Ok(texts)
    };
    read().with_context(|| format!("can't read {}", folder.display()))
}

/// The text with uniform line ends.
fn plain(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

fn published(licence: &str) -> Result<BTreeSet<String>> {
    let expression = Expression::parse_mode(licence, ParseMode::LAX).map_err(|error| {
        anyhow::anyhow!("`{licence}` isn't an SPDX expression: {}", error.reason)
    })?;
    let mut texts = BTreeSet::new();
    for requirement in expression.requirements() {
        if let LicenseItem::Spdx { id, .. } = &requirement.req.license {
            texts.insert(plain(id.text()));
        }
        if let Some(AdditionItem::Spdx(id)) = &requirement.req.addition {
            texts.insert(plain(id.text()));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::part;

    fn text(others: Vec<Part>) -> Result<String> {
        let parts = Parts { agent: part("enforcer", "Apache-2.0", &[]), others };
        write(&parts).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_shared_text_appears_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LICENSE-MIT"), "Copyright X \r\n\r\nDo it.\r\n").unwrap();
        fs::write(folder.path().join("license.rs"), "fn main() {}").unwrap();
        let with_file =
            |name| Part { folder: Some(folder.path().into()), ..part(name, "MIT", &[]) };
        let text = text(vec![with_file("a"), with_file("b")]).unwrap();
        assert!(text.contains("\na 1.0.0, b 1.0.0\n\nCopyright X\n\nDo it.\n"), "{text}");
        assert!(!text.contains("fn main"));
    }

    #[test]
    fn a_licence_without_a_file_is_looked_up() {
        let licence = "GPL-3.0-or-later WITH GCC-exception-3.1";
        let text = text(vec![part("c", licence, &[])]).unwrap();
        assert!(text.contains("GNU GENERAL PUBLIC LICENSE"), "{text}");
        assert!(text.contains("GCC RUNTIME LIBRARY EXCEPTION"), "{text}");
        assert!(text.contains("Apache License"), "{text}");
    }

    #[test]
    fn a_part_without_a_licence_is_reported() {
        let error = format!("{:#}", text(vec![part("d", "my own terms", &[])]).unwrap_err());
        assert!(error.contains("d 1.0.0") && error.contains("my own terms"), "{error}");
    }
}
