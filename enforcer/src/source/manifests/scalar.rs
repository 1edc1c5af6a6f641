//! Values of plain scalars, read the way `kubectl` reads them.

use serde_json::{Number, Value};

/// The value of an unquoted scalar. The words of YAML 1.1 (`yes`, `off`, `0644`) count, because
/// Kubernetes' own readers take them so.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    integer(text).or_else(|| float(text)).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = radix(digits);
    if !digits.chars().all(|it| it.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?.checked_mul(sign)?;
    Number::from_i128(number).map(Value::Number)
}

fn radix(digits: &str) -> (u32, &str) {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return (radix, rest);
        }
    }
    match digits.strip_prefix('0') {
        Some(rest) if !rest.is_empty() && rest.bytes().all(|it| (b'0'..=b'7').contains(&it)) => {
            (8, rest)
        }
        _ => (10, digits),
    }
}

fn float(text: &str) -> Option<Value> {
    // Rust also reads `inf` and `nan`, which are words in YAML.
    let starts = text.trim_start_matches(['+', '-']).trim_start_matches('.');
    if !starts.starts_with(|it: char| it.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_words() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("off", json!(false)),
            ("80", json!(80)),
            ("-1", json!(-1)),
            ("0x10", json!(16)),
            ("0644", json!(420)),
            ("0", json!(0)),
            ("08", json!(8)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("10.0.0.0/8", json!("10.0.0.0/8")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("inf", json!("inf")),
            ("-", json!("-")),
            ("0x", json!("0x")),
            ("99999999999999999999", json!(1e20)),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
