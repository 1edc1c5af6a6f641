//! Manifests of a git revision.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The manifests of a revision can't be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// git does not run.
    #[error("cannot run git: {0}")]
    Run(std::io::Error),
    /// git fails.
    #[error("git {command}: {message}")]
    Failed {
        /// Its arguments.
        command: String,
        /// Its last words.
        message: String,
    },
    /// The files can't be written.
    #[error("cannot write the files of the revision: {0}")]
    Write(#[from] std::io::Error),
}

/// A folder with the manifests of a revision; deleted when it is dropped.
#[derive(Debug)]
pub(super) struct Revision {
    folder: TempDir,
    /// The written files, and their names in the revision.
    names: Vec<(String, String)>,
}

impl Revision {
    /// The manifests of `REVISION` at a file or below a folder of its repository, or of `REVISION:PATH`, where
    /// the path begins at that folder.
    pub(super) fn read(at: &Path, name: &str) -> Result<Self, GitError> {
        let (at, revision, path) = match (name.split_once(':'), at.parent(), at.file_name()) {
            (Some((revision, path)), ..) => (at, revision, path),
            (None, Some(folder), Some(file)) if at.is_file() => {
                (folder, name, file.to_str().unwrap_or_default())
            }
            (None, ..) => (at, name, "."),
        };
        let at = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        let path = if path.is_empty() { "." } else { path };
        let folder = TempDir::new()?;
        let list = ["ls-tree", "-r", "-z", "--name-only", "--end-of-options", revision, "--", path];
        let listed = String::from_utf8_lossy(&git(at, &list)?).into_owned();
        let mut names = Vec::new();
        let files = listed.split('\0').filter(|it| is_manifest(Path::new(it)));
        for (number, file) in files.enumerate() {
            let object = format!("{revision}:./{file}");
            let content = git(at, &["cat-file", "blob", &object])?;
            // Names within the folder are the file's own, but never lead out of it.
            let name = format!("{number:05}+{}", file.replace(['/', '\\'], "+"));
            let written = folder.path().join(name);
            std::fs::write(&written, content)?;
            names.push((written.display().to_string(), format!("{revision}:{file}")));
        }
        Ok(Self { folder, names })
    }

    /// A text about the written files, with their names in the revision instead.
    pub(super) fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (path, name)| text.replace(path, name))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "yaml" || it == "yml" || it == "json")
}

fn git(at: &Path, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(at).args(arguments).output().map_err(GitError::Run)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(GitError::Failed { command: arguments.join(" "), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(revision: &Revision) -> Vec<String> {
        let files = std::fs::read_dir(revision.path()).unwrap();
        let mut names: Vec<String> =
            files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn manifests_of_a_revision_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let run = |arguments: &[&str]| {
            let author = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
            git(at, &[&author[..], arguments].concat()).unwrap();
        };
        run(&["init", "-q"]);
        std::fs::create_dir(at.join("policies")).unwrap();
        std::fs::write(at.join("policies/a.yaml"), "a: 1\n").unwrap();
        std::fs::write(at.join("other.json"), "{}").unwrap();
        std::fs::write(at.join("README.md"), "").unwrap();
        run(&["add", "-A"]);
        run(&["commit", "-qm", "one"]);
        std::fs::write(at.join("policies/a.yaml"), "a: 2\n").unwrap();

        let all = Revision::read(at, "HEAD").unwrap();
        assert_eq!(names(&all), ["00000+other.json", "00001+policies+a.yaml"]);
        let some = Revision::read(at, "HEAD:policies").unwrap();
        assert_eq!(names(&some), ["00000+policies+a.yaml"]);
        let text = std::fs::read_to_string(some.path().join("00000+policies+a.yaml")).unwrap();
        assert_eq!(text, "a: 1\n");
        let error = format!("{}:1:1: error", some.names[0].0);
        assert_eq!(some.named(&error), "HEAD:policies/a.yaml:1:1: error");
        let file = Revision::read(&at.join("policies/a.yaml"), "HEAD").unwrap();
        assert_eq!(names(&file), ["00000+a.yaml"]);
        let below = Revision::read(&at.join("policies"), "HEAD").unwrap();
        assert_eq!(names(&below), ["00000+a.yaml"]);
        for wrong in ["nothing", "--help", "HEAD:policies\0"] {
            assert!(Revision::read(at, wrong).is_err(), "{wrong}");
        }
    }
}
