//! The tutorial's manifests as steps. They are part of the binary.

/// One file of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub scenario: &'static str,
    pub file: &'static str,
    pub text: &'static str,
}

macro_rules! steps {
    ($($scenario:literal / $file:literal),* $(,)?) => {
        &[$(Step {
            scenario: $scenario,
            file: $file,
            text: include_str!(concat!("../../../deploy/tutorial/", $scenario, "/", $file)),
        }),*]
    };
}

/// All steps in order. Within a scenario each step adds to the previous ones; a new scenario starts
/// empty.
pub(crate) const STEPS: &[Step] = steps![
    "hello-world" / "00-no-policy.yaml",
    "hello-world" / "10-restrict-all-traffic.yaml",
    "hello-world" / "20-backend-policy.yaml",
    "hello-world" / "30-unlabelled-pod.yaml",
    "ip-block" / "00-web.yaml",
    "ip-block" / "10-office-only.yaml",
    "least-privilege" / "00-pods.yaml",
    "least-privilege" / "10-api-z.yaml",
    "zones" / "00-pods.yaml",
    "zones" / "10-within-the-zone.yaml",
    "services" / "00-front-doors.yaml",
    "services" / "10-office-at-the-door.yaml",
    "services" / "20-stable-only.yaml",
];

impl Step {
    /// The first line of the file's leading comment.
    pub(crate) fn title(&self) -> &'static str {
        self.comment().next().unwrap_or(self.file)
    }

    /// The rest of that comment.
    pub(crate) fn explanation(&self) -> Vec<&'static str> {
        self.comment().skip(1).collect()
    }

    fn comment(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim)
    }

    /// Whether it is the first step of its scenario.
    pub(crate) fn is_first(&self) -> bool {
        STEPS.iter().find(|step| step.scenario == self.scenario) == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_tutorial_is_a_step_and_explained() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial");
        let mut files = BTreeSet::new();
        for scenario in std::fs::read_dir(root).unwrap().map(Result::unwrap) {
            if scenario.file_type().unwrap().is_dir() {
                for file in std::fs::read_dir(scenario.path()).unwrap().map(Result::unwrap) {
                    files.insert((scenario.file_name(), file.file_name()));
                }
            }
        }
        let steps = STEPS.iter().map(|step| (step.scenario.into(), step.file.into()));
        assert_eq!(steps.collect::<BTreeSet<_>>(), files);
        for step in STEPS {
            assert!(step.explanation().len() >= 2, "{}", step.file);
        }
    }

    #[test]
    fn scenarios_are_not_interleaved() {
        let firsts = STEPS.iter().filter(|step| step.is_first()).count();
        let mut scenarios: Vec<_> = STEPS.iter().map(|step| step.scenario).collect();
        scenarios.dedup();
        assert_eq!(scenarios.len(), firsts);
    }
}
