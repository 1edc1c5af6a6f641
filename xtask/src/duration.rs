//! Durations on the command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Reads `90s`, `10m` or `2h`; a bare number means seconds.
pub(crate) fn parse(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        other => bail!("unknown unit `{other}`: write 90s, 10m or 2h"),
    };
    let number: u32 = digits.parse().with_context(|| format!("`{text}` isn't a duration"))?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let seconds = |text| parse(text).map(|it| it.as_secs()).ok();
        assert_eq!(seconds("45"), Some(45));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("2h"), Some(7_200));
        for wrong in ["", "m", "5d", "1.5h", "-3s", "1m30s"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
