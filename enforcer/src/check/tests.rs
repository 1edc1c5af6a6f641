use std::fs;

use super::*;

mod lints;

const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  podSelector: {}\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The reports as lines, without the folder's name, and the summary.
    fn check(&self, name: &str) -> (Vec<String>, Summary) {
        let found = check(&[self.path(name)]).unwrap();
        let base = self.0.path().display().to_string();
        let line = |it: &Report| it.to_string().replace(&format!("{base}/"), "").replace(&base, "");
        (found.reports.iter().map(line).collect(), found.summary)
    }
}

#[test]
fn a_good_policy_has_no_findings() {
    let folder = Folder::new(&[
        ("a.yaml", POLICY),
        ("sub/B.YAML", &POLICY.replace("name: p", "name: q, namespace: b")),
    ]);
    let (lines, summary) = folder.check("");
    assert_eq!(lines, [""; 0]);
    assert_eq!((summary.files, summary.objects, summary.policies), (2, 2, 2));
    assert_eq!(folder.check("a.yaml").1.files, 1);
}

#[test]
fn what_is_missing_is_reported() {
    let folder = Folder::new(&[
        ("empty/notes.txt", "a"),
        ("comment/a.yaml", "# nothing\n"),
        ("other/a.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"),
    ]);
    let (lines, summary) = folder.check("empty");
    assert_eq!(
        lines,
        ["empty:1:1: error: no manifests in this folder: no file ends in .yaml, .yml or .json"]
    );
    assert_eq!(summary.errors, 1);
    assert_eq!(folder.check("comment").0, ["comment:1:1: error: no objects in the given files"]);
    let (lines, summary) = folder.check("other");
    assert_eq!(lines[0], "other:1:1: warning: no NetworkPolicy in the given files");
    assert_eq!((summary.errors, summary.warnings, summary.notices), (0, 1, 1));
    assert!(check(&["/does/not/exist".into()]).is_err());
}

#[test]
fn links_without_a_target_are_errors() {
    let folder = Folder::new(&[("a.yaml", POLICY)]);
    std::os::unix::fs::symlink("nowhere", folder.path("b.yaml")).unwrap();
    assert_eq!(folder.check("").0, ["b.yaml:1:1: error: a link without a target"]);
}

#[test]
fn pipes_are_read() {
    use std::io::Write as _;
    let folder = Folder::new(&[]);
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = pipe.clone();
    let writer = std::thread::spawn(move || {
        fs::File::options().write(true).open(writer).unwrap().write_all(POLICY.as_bytes()).unwrap();
    });
    let (lines, summary) = folder.check("pipe");
    writer.join().unwrap();
    assert_eq!(lines, [""; 0]);
    assert_eq!(summary.policies, 1);
}

#[test]
fn templates_are_named_once() {
    let template = POLICY.replace("name: p", "name: {{ .Release.Name }}-p");
    let second = format!("{{{{- if .Values.policy }}}}\n{POLICY}{{{{- end }}}}\n");
    let folder = Folder::new(&[
        ("Chart.yaml", "apiVersion: v2\nname: c\n"),
        ("values.yaml", "a: 1\n"),
        ("files/more/a.yaml", "a: 1\n"),
        ("templates/a.yaml", &template),
        ("templates/b.yaml", &second),
    ]);
    let (lines, summary) = folder.check("");
    assert_eq!(
        lines,
        [
            "templates/a.yaml:3:18: error: a template, not a manifest; 1 further files are templates, too (render it \
         first: `helm template CHART | enforcer check -`)"
        ]
    );
    assert_eq!(summary.errors, 1);
}

#[test]
fn text_in_braces_is_no_template() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '{{ .x }}'}\n---\n";
    let folder = Folder::new(&[("a.yaml", &format!("{map}{POLICY}  bad: 1\n"))]);
    let (lines, _) = folder.check("");
    assert!(lines.iter().any(|it| it.contains("spec.bad: unknown field")), "{lines:?}");
}

#[test]
fn a_kustomization_needs_no_kind() {
    let folder =
        Folder::new(&[("kustomization.yaml", "resources: [a.yaml]\n"), ("a.yaml", POLICY)]);
    assert_eq!(folder.check("").0, [""; 0]);
    let folder = Folder::new(&[("kustomization.yaml", "resources: [a.yaml]\n")]);
    assert_eq!(folder.check("").1.errors, 0);
}

#[test]
fn lints_explain_errors_instead_of_repeating_them() {
    let text = POLICY
        .replace("podSelector: {}", "podSelector: {app: web, tier: 1}\n  ingress: [{to: []}]");
    let folder = Folder::new(&[("a.yaml", &text)]);
    let (lines, _) = folder.check("");
    assert_eq!(
        lines,
        [
            "a.yaml:5:17: error: spec.podSelector.app: labels belong under `matchLabels` [bare-labels]",
            "a.yaml:6:14: error: spec.ingress[0].to: an ingress rule names its peers in `from`, not in `to` [misplaced-peers]",
        ]
    );
}

#[test]
fn comments_silence_warnings_only() {
    let text = POLICY.replace("{}", "{}\n  # enforcer:ignore empty-means-all -- all\n  ingress: [{from: []}]\n  # enforcer:ignore misplaced-peers nothing\n  egress: [{from: []}]");
    let folder = Folder::new(&[("a.yaml", &text)]);
    let (lines, summary) = folder.check("");
    assert_eq!(summary.silenced, 1);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("no lint is called `nothing`") && lines[1].contains("[misplaced-peers]"),
        "{lines:?}"
    );
}

#[test]
fn nothing_is_said_about_effects() {
    let folder = Folder::new(&[("a.yaml", &format!("{POLICY}  bad: 1\n"))]);
    assert_eq!(folder.check("").0, ["a.yaml:6:3: error: spec.bad: unknown field"]);
}

#[test]
fn an_object_may_be_there_twice_but_not_in_two_ways() {
    let folder = Folder::new(&[("a.yaml", POLICY), ("b.yaml", POLICY)]);
    assert_eq!(folder.check("").0, [""; 0]);
    let folder = Folder::new(&[
        ("a.yaml", POLICY),
        ("b.yaml", &POLICY.replace("{}", "{matchLabels: {a: b}}")),
    ]);
    let (lines, summary) = folder.check("");
    assert_eq!((summary.errors, summary.warnings), (0, 1));
    assert!(
        lines[0].starts_with(
            "b.yaml:3:18: warning: metadata.name: NetworkPolicy default/p is already declared"
        ),
        "{lines:?}"
    );
    assert!(lines[0].contains("[duplicate]"), "{lines:?}");
}

#[test]
fn the_tutorial_leaves_nothing_to_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/tutorial");
    let scenarios = fs::read_dir(&root).unwrap().map(|it| it.unwrap().path());
    for path in scenarios.filter(|it| it.is_dir()).chain([root.clone()]) {
        let findings = check(std::slice::from_ref(&path)).unwrap();
        let Summary { policies, errors, warnings, .. } = findings.summary;
        assert!(policies > 0 && (errors, warnings) == (0, 0), "{:?}", findings.reports);
    }
}

/// The API server refuses it, though the agent enforces the policy without it.
#[test]
fn a_status_is_an_error() {
    for status in ["{}", "null", "{conditions: []}"] {
        let folder = Folder::new(&[("a.yaml", &format!("{POLICY}status: {status}\n"))]);
        let (lines, summary) = folder.check("");
        assert_eq!(summary.errors, 1, "{lines:?}");
        assert!(lines[0].starts_with("a.yaml:6:1: error: status: "), "{lines:?}");
        assert!(!lines[0].contains("did you mean"), "{lines:?}");
    }
}

#[test]
fn a_host_name_is_one_error() {
    for peer in ["fqdn: example.org", "ipBlock: {cidr: example.org}"] {
        let policy = format!("{POLICY}  egress: [{{to: [{{{peer}}}], ports: [{{port: 53}}]}}]\n");
        let folder = Folder::new(&[("a.yaml", &policy)]);
        let (lines, _) = folder.check("");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("knows no host names"), "{lines:?}");
    }
}

#[test]
fn policies_without_a_namespace_in_different_folders_are_no_duplicates() {
    let closed = format!("{POLICY}  ingress: []\n");
    let open = format!("{POLICY}  ingress: [{{}}]\n");
    let same = closed.replace("name: p", "name: q");
    let folder =
        Folder::new(&[("dev/a.yaml", &closed), ("prod/a.yaml", &open), ("test/a.yaml", &same)]);
    assert_eq!(folder.check("").0, [""; 0]);
    let beside = Folder::new(&[("a.yaml", &closed), ("b.yaml", &open), ("c.yaml", &same)]);
    let (lines, _) = beside.check("");
    assert!(lines[0].contains("is already declared at"), "{lines:?}");
    assert!(lines[1].contains("means the same"), "{lines:?}");
    let named = |text: &str| text.replace("name: p", "name: p, namespace: shop");
    let named = Folder::new(&[("dev/a.yaml", &named(&closed)), ("prod/a.yaml", &named(&open))]);
    let (lines, _) = named.check("");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn policies_of_others_with_the_same_kind_are_not_judged() {
    let other = POLICY.replace("networking.k8s.io/v1", "projectcalico.org/v3");
    let other = other.replace("  podSelector: {}\n", "  selector: all()\n");
    let (lines, summary) = Folder::new(&[("a.yaml", &other)]).check("a.yaml");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("no NetworkPolicy in the given files"), "{lines:?}");
    assert!(lines[1].contains("is NOT enforced"), "{lines:?}");
    assert_eq!((summary.policies, summary.objects), (0, 1));
}
