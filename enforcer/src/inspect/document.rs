//! Documents in the formats that commands print.

use serde::Serialize;

/// The version of the schema in `docs/json.md`. It changes when a field is removed or changes its
/// meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs; see docs/json.md.
    Json,
    /// The same as YAML.
    Yaml,
}

#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// The document of this kind as JSON or YAML; `None` for text.
///
/// # Errors
/// The body can't be serialized.
pub fn document<T: Serialize>(
    kind: &str,
    body: &T,
    output: Output,
) -> anyhow::Result<Option<String>> {
    let document = Document { version: SCHEMA_VERSION, kind, body };
    Ok(match output {
        Output::Text => None,
        Output::Json => Some(serde_json::to_string_pretty(&document)? + "\n"),
        Output::Yaml => Some(serde_saphyr::to_string(&document)?),
    })
}
