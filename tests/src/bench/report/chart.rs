//! Plots as SVG: bars and lines. Colours come from the page's style; patterns, dashes and shapes of
//! points say the same without colour, and every bar has its figure beside it.

use std::fmt::Write as _;

/// The width of a plot.
const WIDTH: f64 = 860.0;
/// The width of the labels left of bars.
const LABELS: f64 = 270.0;
/// The room right of the longest bar.
const MARGIN: f64 = 120.0;
const BAR: f64 = 13.0;
const GAP: f64 = 8.0;

/// Replaces the characters that mean something in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A figure as people read it: about three digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        it if !it.is_finite() => "–".to_owned(),
        it if it >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) && !grouped.ends_with('-') {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        it if it >= 100.0 || it.fract() == 0.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A bar, and how far the rounds were from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    pub(super) value: f64,
    /// The first and the third quartile.
    pub(super) spread: Option<[f64; 2]>,
    /// The figure that is aimed at.
    pub(super) target: Option<f64>,
}

impl Bar {
    pub(super) const fn plain(value: f64) -> Self {
        Self { value, spread: None, target: None }
    }
}

/// Horizontal bars in groups: a bar of each series. `None`: not measured.
pub(super) fn bars(
    title: &str,
    unit: &str,
    series: &[&str],
    groups: &[(String, Vec<Option<Bar>>)],
) -> String {
    let all = groups.iter().flat_map(|(_, bars)| bars).flatten();
    let greatest = |it: &Bar| it.value.max(it.spread.map_or(0.0, |[_, high]| high));
    let most = all.map(greatest).filter(|it| it.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABELS - MARGIN) / most;
    let mut body = String::new();
    let mut y = legend(&mut body, series, false);
    for (label, bars) in groups {
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        text(&mut body, (LABELS - 8.0, middle), "end", label);
        for (number, bar) in bars.iter().enumerate() {
            match bar {
                Some(bar) => one_bar(&mut body, (y, scale), number, bar),
                None => text(&mut body, (LABELS + 4.0, y + BAR - 3.0), "start", "not measured"),
            }
            y += BAR;
        }
        y += GAP;
    }
    framed(title, unit, &body, y)
}

fn one_bar(body: &mut String, (y, scale): (f64, f64), number: usize, bar: &Bar) {
    let width = (bar.value * scale).max(1.0);
    // Writing to a String never fails.
    let _ = write!(
        body,
        "<rect class=\"s{number}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
        BAR - 2.0
    );
    let mut end = width;
    if let Some([low, high]) = bar.spread {
        let (from, to, middle) = (LABELS + low * scale, LABELS + high * scale, y + BAR / 2.0 - 1.0);
        let _ = write!(
            body,
            "<path class=\"spread\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v4M{to:.1} \
             {:.1}v4\"/>",
            middle - 2.0,
            middle - 2.0
        );
        end = end.max(high * scale);
    }
    if let Some(target) = bar.target {
        let x = LABELS + target * scale;
        let _ = write!(body, "<path class=\"target\" d=\"M{x:.1} {:.1}v{BAR}\"/>", y - 1.0);
    }
    text(body, (LABELS + end + 6.0, y + BAR - 3.0), "start", &short(bar.value));
}

/// A line through points.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic horizontal axis.
pub(super) fn lines(title: &str, axis: &str, unit: &str, lines: &[Line]) -> String {
    const HEIGHT: f64 = 260.0;
    const LEFT: f64 = 60.0;
    let points = || lines.iter().flat_map(|line| &line.points);
    let most_x = points().map(|it| it.0).fold(1.0, f64::max).log10().max(1.0);
    let most_y = points().map(|it| it.1).fold(1.0, f64::max) * 1.1;
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    let mut body = String::new();
    let top = legend(&mut body, &names, true);
    let x = |value: f64| LEFT + value.max(1.0).log10() / most_x * (WIDTH - LEFT - 60.0);
    let y = |value: f64| top + HEIGHT - value / most_y * HEIGHT;
    for step in 0..=4 {
        let value = most_y * f64::from(step) / 4.0;
        let _ = write!(
            body,
            "<path class=\"grid\" d=\"M{LEFT} {:.1}H{:.1}\"/>",
            y(value),
            WIDTH - 60.0
        );
        text(&mut body, (LEFT - 8.0, y(value) + 4.0), "end", &short(value));
    }
    let mut power = 1.0;
    while power <= 10_f64.powf(most_x) * 1.01 {
        text(&mut body, (x(power), top + HEIGHT + 18.0), "middle", &short(power));
        power *= 10.0;
    }
    text(&mut body, (WIDTH - 60.0, top + HEIGHT + 36.0), "end", axis);
    for (number, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(a, b)| format!("{:.1} {:.1}", x(*a), y(*b))).collect();
        let _ = write!(body, "<path class=\"l{number}\" d=\"M{}\"/>", path.join("L"));
        for (a, b) in &line.points {
            point(&mut body, number, (x(*a), y(*b)));
        }
    }
    framed(title, unit, &body, top + HEIGHT + 44.0)
}

/// A point of a shape of its series.
fn point(body: &mut String, series: usize, (x, y): (f64, f64)) {
    let shape = match series % 4 {
        0 => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", x - 4.0),
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5 8h-10z", y - 5.0),
        _ => format!("M{x:.1} {:.1}l5 5l-5 5l-5 -5z", y - 5.0),
    };
    let _ = write!(body, "<path class=\"p{series}\" d=\"{shape}\"/>");
}

/// The names of series, with their patterns; returns the height.
fn legend(body: &mut String, series: &[&str], is_lines: bool) -> f64 {
    if series.len() < 2 {
        return 8.0;
    }
    let mut y = 4.0;
    for (number, name) in series.iter().enumerate() {
        if is_lines {
            let _ = write!(body, "<path class=\"l{number}\" d=\"M10 {:.1}H50\"/>", y + 6.0);
            point(body, number, (30.0, y + 6.0));
        } else {
            let _ = write!(
                body,
                "<rect class=\"s{number}\" x=\"10\" y=\"{y:.1}\" width=\"40\" height=\"11\"/>"
            );
        }
        text(body, (58.0, y + 10.0), "start", name);
        y += 18.0;
    }
    y + 8.0
}

fn text(body: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn framed(title: &str, unit: &str, body: &str, height: f64) -> String {
    let (title, unit) = (escape(title), escape(unit));
    format!(
        "<figure><figcaption>{title} <span>{unit}</span></figcaption><svg viewBox=\"0 0 {WIDTH} \
         {height:.0}\" role=\"img\" aria-label=\"{title}, {unit}; the figures are in the tables\">{body}\
         </svg></figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_about_three_digits_and_thousands_are_grouped() {
        let all = [0.5, 12.34, 7.0, 123.4, 1_234.5, 1_234_567.0, -1_000.0, f64::NAN];
        let short = all.map(short);
        assert_eq!(short, ["0.50", "12.3", "7", "123", "1,234", "1,234,567", "-1,000", "–"]);
    }

    #[test]
    fn names_cannot_become_elements() {
        let group = ("<script>".to_owned(), vec![Some(Bar::plain(1.0)), None]);
        let plot = bars("a \"title\"", "ns", &["one", "two"], &[group]);
        assert!(!plot.contains("<script>") && plot.contains("&lt;script&gt;"));
        assert!(plot.contains("not measured"));
    }
}
