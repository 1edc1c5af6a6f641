//! Names of objects.

use std::fmt;

/// An object's namespace, if its kind has one, and name. One text: there is a key for each object of the
/// cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Box<str>);

impl Key {
    /// The key of an object; `namespace` is empty if its kind has none.
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    fn parts(&self) -> (&str, &str) {
        // No namespace contains a slash.
        self.0.split_once('/').unwrap_or(("", &self.0))
    }

    pub(super) fn namespace(&self) -> &str {
        self.parts().0
    }

    pub(super) fn name(&self) -> &str {
        self.parts().1
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            ("", name) => f.write_str(name),
            (namespace, name) => write!(f, "{namespace}/{name}"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
