//! Lints: policies that are valid but probably do not mean what they say, and mistakes that are worth
//! an explanation.
//!
//! Here belong pure functions from documents and the model to findings. Does not belong here: reading
//! files, the places of findings in them, output. `docs/lints.md` explains each lint.

mod coverage;
mod estate;
mod finding;
mod meaning;
mod reach;
mod shape;
mod silence;
mod whole;
mod workloads;
mod yaml;

#[cfg(test)]
mod fixture;

pub use estate::{Estate, Subject};
pub use finding::Finding;
pub use silence::{Silence, unknown_names};
pub use whole::DUPLICATE;

/// The explanations, one section per lint.
const DOCUMENT: &str = include_str!("../../../docs/lints.md");

/// The names of all lints, as in the document.
pub const NAMES: [&str; 23] = [
    shape::MISPLACED_PEERS,
    shape::PORTS_IN_PEER,
    shape::BARE_LABELS,
    shape::ACTION,
    shape::HOST_NAME,
    shape::PORT_RANGE,
    shape::PROTOCOL,
    shape::RESOURCE_VERSION,
    meaning::SPLIT_PEER,
    meaning::SPLIT_RULE,
    meaning::EMPTY_MEANS_ALL,
    meaning::MISSING_POD_SELECTOR,
    meaning::NAMESPACE_NAME,
    DUPLICATE,
    whole::ONE_FAMILY,
    workloads::MATCHES_NOTHING,
    workloads::PORT_NAME,
    workloads::SERVICE_PORT,
    workloads::PORT_PROTOCOL,
    workloads::SERVICE_ADDRESS,
    reach::EGRESS_WITHOUT_DNS,
    reach::LOAD_BALANCER_PROBES,
    reach::WEBHOOK,
];

/// All findings on an estate.
#[must_use]
pub fn run(estate: &Estate<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, subject) in estate.subjects.iter().enumerate() {
        let lints = [shape::lint, meaning::lint, whole::lint, workloads::lint, reach::lint];
        let findings = lints.iter().flat_map(|lint| lint(estate, subject));
        found.extend(findings.map(|it| Finding { subject: index, ..it }));
    }
    found
}

/// The explanation of a lint, in Markdown.
#[must_use]
pub fn explanation(name: &str) -> Option<&'static str> {
    NAMES.contains(&name).then_some(())?;
    let (_, section) = DOCUMENT.split_once(&format!("\n## {name}\n"))?;
    Some(section.split("\n## ").next().unwrap_or(section).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lint_is_explained_with_an_example() {
        for name in NAMES {
            let text = explanation(name).unwrap_or_else(|| panic!("docs/lints.md lacks {name}"));
            assert!(text.contains("```yaml"), "{name} has no example");
        }
        let sections = DOCUMENT.lines().filter_map(|it| it.strip_prefix("## "));
        let named: Vec<&str> = sections.filter(|it| !it.contains(' ')).collect();
        assert_eq!(named, NAMES, "the document's order");
        assert_eq!(explanation("nothing"), None);
    }
}
