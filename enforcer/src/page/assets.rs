//! The files of the page. They are in the binary: nothing is read or fetched at run time.

/// The page's HTML.
pub(super) const INDEX: &str = include_str!("web/index.html");
/// Its icon.
const ICON: &str = include_str!("web/icon.svg");
/// Its style sheet.
pub(super) const STYLE: &str = include_str!("web/page.css");

/// The module that starts the page.
pub(super) const FIRST: &str = "app.js";

/// The modules. Each comes after those that it imports.
pub(super) const MODULES: [(&str, &str); 16] = [
    ("dom.js", include_str!("web/dom.js")),
    ("theme.js", include_str!("web/theme.js")),
    ("api.js", include_str!("web/api.js")),
    ("model.js", include_str!("web/model.js")),
    ("axis.js", include_str!("web/axis.js")),
    ("answers.js", include_str!("web/answers.js")),
    ("panel.js", include_str!("web/panel.js")),
    ("search.js", include_str!("web/search.js")),
    ("matrix.js", include_str!("web/matrix.js")),
    ("edges.js", include_str!("web/edges.js")),
    ("layout.js", include_str!("web/layout.js")),
    ("graph.js", include_str!("web/graph.js")),
    ("whatif.js", include_str!("web/whatif.js")),
    ("activity.js", include_str!("web/activity.js")),
    ("coverage.js", include_str!("web/coverage.js")),
    (FIRST, include_str!("web/app.js")),
];

/// A file by its path, and its content type.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static str)> {
    match path {
        "/" => Some(("text/html; charset=utf-8", INDEX)),
        "/icon.svg" => Some(("image/svg+xml", ICON)),
        "/page.css" => Some(("text/css; charset=utf-8", STYLE)),
        _ => {
            let name = path.strip_prefix('/')?;
            let found = MODULES.iter().find(|(it, _)| *it == name);
            found.map(|(_, text)| ("text/javascript; charset=utf-8", *text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_short_and_fetch_nothing_from_elsewhere() {
        let all = MODULES.iter().copied().chain([("index.html", INDEX), ("page.css", STYLE)]);
        for (name, text) in all {
            assert!(text.lines().count() <= 400, "{name} is too long");
            for line in text.lines().filter(|it| it.contains("://")) {
                assert!(line.contains("www.w3.org/2000/svg"), "{name}: {line}");
            }
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(forbidden), "{name} uses {forbidden}");
            }
        }
    }

    #[test]
    fn every_file_has_its_type() {
        assert!(file("/").is_some_and(|(kind, _)| kind.starts_with("text/html")));
        assert!(file("/app.js").is_some_and(|(kind, _)| kind.starts_with("text/javascript")));
        assert_eq!(file("/../Cargo.toml"), None);
        assert_eq!(file("app.js"), None);
    }
}
