//! Tables of the page.

use std::fmt::Write as _;

use super::chart::escape;

/// A table behind a summary.
pub(super) fn table(
    summary: &str,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut text = format!("<details><summary>{}</summary><table><tr>", escape(summary));
    // Writing to a String never fails.
    for cell in head {
        let _ = write!(text, "<th>{}</th>", escape(cell));
    }
    for row in rows {
        text.push_str("</tr>\n<tr>");
        for cell in row {
            let _ = write!(text, "<td>{}</td>", escape(&cell));
        }
    }
    text.push_str("</tr></table></details>\n");
    text
}
