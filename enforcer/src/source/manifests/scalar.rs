//! Plain scalars, as `kubectl` reads them.
//!
//! `kubectl` converts YAML to JSON by `sigs.k8s.io/yaml`, which resolves plain scalars by the rules of
//! YAML 1.1 with some additions (`resolve` in `go.yaml.in/yaml/v2`, `resolve.go`). Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Number, Value};

/// The words that are booleans.
const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] =
    ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// Larger whole numbers have an exponent in JSON (`encoding/json`, `floatEncoder`), and fit no integer.
const LARGEST_WHOLE: f64 = 1e21;

/// The meaning of a plain scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    /// A null, a boolean or a number.
    Value(Value),
    /// An infinity, or no number: JSON has none.
    NotFinite,
    /// A string.
    Text,
    /// Its tag does not fit.
    Misfit,
}

/// Resolves a plain scalar: text without quotes and without a tag.
pub(super) fn resolve(text: &str) -> Plain {
    if NULL.contains(&text) {
        return Plain::Value(Value::Null);
    }
    if TRUE.contains(&text) {
        return Plain::Value(true.into());
    }
    if FALSE.contains(&text) {
        return Plain::Value(false.into());
    }
    if is_not_finite(text) {
        return Plain::NotFinite;
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        _ => None,
    };
    number.map_or(Plain::Text, |it| Plain::Value(it.into()))
}

/// Resolves a scalar with a tag (`resolve` and `scalar` in `go.yaml.in/yaml/v2`, `resolve.go`, `decode.go`).
pub(super) fn tagged(tag: &str, text: &str) -> Plain {
    let digits = || text.replace('_', "");
    let fits = |fits: bool| if fits { resolve(text) } else { Plain::Misfit };
    match own(tag) {
        Some("int") => integer(&digits()).map_or(Plain::Misfit, |it| Plain::Value(it.into())),
        Some("float") => match resolve(text) {
            Plain::Value(Value::Number(it)) => Plain::Value(it.into()),
            Plain::NotFinite => Plain::NotFinite,
            _ => Plain::Misfit,
        },
        Some("bool") => fits(TRUE.contains(&text) || FALSE.contains(&text)),
        Some("null") => fits(NULL.contains(&text)),
        Some("timestamp") => {
            if is_date(text) {
                Plain::Value(text.into())
            } else {
                Plain::Misfit
            }
        }
        Some("binary") => match BASE64_STANDARD.decode(text.split_whitespace().collect::<String>())
        {
            Ok(bytes) => Plain::Value(String::from_utf8_lossy(&bytes).into()),
            Err(_) => Plain::Misfit,
        },
        // Tags of others, and those of lists and mappings, mean nothing for a scalar.
        Some(_) | None => Plain::Value(text.into()),
    }
}

/// The name of one of YAML's own tags.
pub(super) fn own(tag: &str) -> Option<&str> {
    let verbatim = || tag.strip_prefix("!<tag:yaml.org,2002:")?.strip_suffix('>');
    tag.strip_prefix("!!").or_else(verbatim)
}

/// Whether a text begins with a date, and has nothing or a time after it.
fn is_date(text: &str) -> bool {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-').map(|it| (it.len(), it.parse::<u32>().ok()));
    let year = matches!(parts.next(), Some((4, Some(_))));
    let month = matches!(parts.next(), Some((1 | 2, Some(1..=12))));
    let day = matches!(parts.next(), Some((1 | 2, Some(1..=31))));
    year && month && day && parts.next().is_none() && time.split(':').count() >= 3
}

/// The text of a key. `None` if there can be no such key.
pub(super) fn key(plain: Plain, text: &str) -> Option<String> {
    match plain {
        Plain::Text => Some(text.to_owned()),
        Plain::Misfit | Plain::Value(Value::Null) => None,
        Plain::Value(Value::String(text)) => Some(text),
        // Keys of this size have no JSON form in kubectl (`sigs.k8s.io/yaml`, `convertToJSONableObject`).
        Plain::Value(value) if value.is_u64() && !value.is_i64() => None,
        Plain::Value(value) => Some(value.to_string()),
        Plain::NotFinite => Some(text.to_lowercase().trim_start_matches('+').to_owned()),
    }
}

fn is_not_finite(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let signed = unsigned.len() != text.len();
    matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || (!signed && matches!(text, ".nan" | ".NaN" | ".NAN"))
}

/// An integer with an optional sign and the prefix of its base: `0x`, `0o`, `0b`, or `0` for octal.
fn integer(text: &str) -> Option<Number> {
    let (sign, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.get(..1)?, rest),
        None => ("", text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let bases = [("0x", 16), ("0o", 8), ("0b", 2)];
    let based = bases.iter().find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base)));
    let octal = lower.strip_prefix('0').filter(|it| !it.is_empty()).map(|it| (it, 8));
    let (digits, base) = based.or(octal).unwrap_or((lower.as_str(), 10));
    if !digits.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return None;
    }
    let signed = i64::from_str_radix(&format!("{sign}{digits}"), base).map(Number::from);
    let large = || u64::from_str_radix(digits, base).ok().filter(|_| sign.is_empty());
    signed.ok().or_else(|| large().map(Number::from))
}

/// A decimal number. A whole one is an integer in JSON.
fn float(text: &str) -> Option<Number> {
    let mantissa = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match mantissa.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (mantissa, None),
    };
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let (whole, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|it| it.strip_prefix(['+', '-']).unwrap_or(it));
    let is_number = digits(whole)
        && digits(rest)
        && !(whole.is_empty() && rest.is_empty())
        && exponent.is_none_or(|it| !it.is_empty() && digits(it));
    let value: f64 = is_number.then(|| text.parse().ok()).flatten()?;
    if value.fract() == 0.0 && value.abs() < LARGEST_WHOLE {
        // Exact: JSON writes all digits of these.
        let whole = format!("{value:.0}");
        let number = whole.parse::<i64>().map(Number::from);
        return number.ok().or_else(|| Number::from_f64(value));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", json!(0)),
            ("-0", json!(0)),
            ("+1", json!(1)),
            ("1_000", json!(1000)),
            ("0x1F", json!(31)),
            ("0X1f", json!(31)),
            ("-0x10", json!(-16)),
            ("010", json!(8)),
            ("0o10", json!(8)),
            ("0b11", json!(3)),
            ("-0b11", json!(-3)),
            ("08", json!(8)),
            ("080", json!(80)),
            ("80.0", json!(80)),
            ("1e3", json!(1000)),
            ("1.", json!(1)),
            (".5", json!(0.5)),
            ("+.5", json!(0.5)),
            ("-1.5", json!(-1.5)),
            ("18446744073709551615", json!(u64::MAX)),
            ("99999999999999999999", json!(1e20)),
        ] {
            assert_eq!(resolve(text), Plain::Value(value), "{text}");
        }
    }

    #[test]
    fn words() {
        for (text, value) in [("y", json!(true)), ("Off", json!(false)), ("~", json!(null))] {
            assert_eq!(resolve(text), Plain::Value(value), "{text}");
        }
        for text in [".inf", "-.INF", "+.Inf", ".nan"] {
            assert_eq!(resolve(text), Plain::NotFinite, "{text}");
        }
        for text in [
            "tRue",
            "nUll",
            "a",
            "_1",
            "+",
            "-",
            ".",
            "0x",
            "0x1p3",
            "1e400",
            "10.0.0.1",
            "1-2",
            "1e",
            "e1",
            "+-1",
            "-+1",
            "2024-01-01",
            "inf",
            "nan",
            "-.nan",
            "1:30",
            "0b2",
            ".5_0",
            "..",
        ] {
            assert_eq!(resolve(text), Plain::Text, "{text}");
        }
    }

    #[test]
    fn keys() {
        for (text, value) in
            [("on", "true"), ("n", "false"), ("1", "1"), ("0x10", "16"), ("1.5", "1.5"), ("a", "a")]
        {
            assert_eq!(key(resolve(text), text).as_deref(), Some(value));
        }
        for text in ["~", "9223372036854775808", "0xffffffffffffffff"] {
            assert_eq!(key(resolve(text), text), None, "{text}");
        }
    }
}
