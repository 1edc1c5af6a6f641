//! The page as one file: modules joined to one script, and the policy that allows just this one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::assets::{INDEX, MODULES, STYLE};

/// The tags of the page's files in its HTML.
const STYLE_TAG: &str = "<link rel=\"stylesheet\" href=\"page.css\">";
const SCRIPT_TAG: &str = "<script type=\"module\" src=\"app.js\"></script>";

const ICON_TAG: &str = "<link rel=\"icon\" href=\"icon.svg\" type=\"image/svg+xml\">\n";

/// The page with its data in one HTML file, which loads and sends nothing.
pub(super) fn bundle(data: &str) -> String {
    let (style, script) = (format!("\n{STYLE}"), script());
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(&script),
        hash(&style)
    );
    let policy = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n");
    // In JSON, "<" occurs in strings only, and has an escape there.
    let data = data.replace('<', "\\u003c");
    let data = format!("<script type=\"application/json\" id=\"report\">{data}</script>\n");
    INDEX
        .replace("<meta charset=\"utf-8\">\n", &format!("<meta charset=\"utf-8\">\n{policy}"))
        .replace(ICON_TAG, "")
        .replace(STYLE_TAG, &format!("<style>{style}</style>"))
        .replace(SCRIPT_TAG, &format!("{data}<script type=\"module\">{script}</script>"))
}

/// The hash of a script or a style sheet, as a source of a content security policy.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// All modules as one script: each is a function that returns its exports.
fn script() -> String {
    let mut script = String::from("\n");
    for (name, text) in MODULES {
        let (body, exports) = function(text);
        let variable = variable(name);
        let exports = exports.join(", ");
        script.push_str(&format!(
            "const {variable} = (() => {{\n{body}return {{ {exports} }};\n}})();\n"
        ));
    }
    script
}

/// A module's text without `import` and `export`, and the names of its exports.
fn function(text: &'static str) -> (String, Vec<&'static str>) {
    let (mut body, mut exports) = (String::with_capacity(text.len()), Vec::new());
    for line in text.lines() {
        if let Some((names, module)) = import(line) {
            body.push_str(&format!("const {{{names}}} = {};\n", variable(module)));
            continue;
        }
        let line = match line.strip_prefix("export ") {
            Some(rest) => {
                exports.extend(declared(rest));
                rest
            }
            None => line,
        };
        body.push_str(line);
        body.push('\n');
    }
    (body, exports)
}

/// The names and the file of `import { a, b } from "./file.js";`.
fn import(line: &str) -> Option<(&str, &str)> {
    let (names, rest) = line.strip_prefix("import {")?.split_once("} from \"./")?;
    Some((names, rest.strip_suffix("\";")?))
}

/// The name that a declaration declares.
fn declared(declaration: &str) -> Option<&str> {
    let words = ["async function ", "function ", "const ", "class "];
    let rest = words.iter().find_map(|it| declaration.strip_prefix(it))?;
    rest.split(|it: char| !it.is_alphanumeric() && it != '_').next()
}

fn variable(module: &str) -> String {
    module.trim_end_matches(".js").to_owned() + "Module"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_imported_after_they_are_made() {
        for (at, (name, text)) in MODULES.iter().enumerate() {
            for line in text.lines().filter(|it| it.starts_with("import")) {
                let (names, module) = import(line).unwrap_or_else(|| panic!("{name}: {line}"));
                let from = MODULES[..at].iter().find(|(it, _)| *it == module);
                let (_, text) = from.unwrap_or_else(|| panic!("{name} imports {module}"));
                let (_, exports) = function(text);
                for import in names.split(',').map(str::trim) {
                    assert!(exports.contains(&import), "{name}: {module} has no {import}");
                }
            }
            for line in text.lines().filter(|it| it.starts_with("export")) {
                let rest = line.strip_prefix("export ").unwrap();
                assert!(declared(rest).is_some(), "{name}: {line}");
            }
        }
    }

    #[test]
    fn a_report_has_no_other_tags_than_the_page() {
        let page = bundle("{\"name\":\"</script><script>alert(1)</script>\"}");
        assert_eq!(page.matches("<script").count(), 2, "the data, and the program");
        assert_eq!(page.matches("</script").count(), 2);
        assert_eq!(page.matches("<style>").count(), 1);
        assert!(!page.contains("<link") && !page.contains("src=\"app.js\""));
        assert!(page.contains("\\u003c/script>\\u003cscript>"));
        let policy = "content=\"default-src 'none'; script-src 'sha256-";
        assert!(page.contains(policy));
    }
}
