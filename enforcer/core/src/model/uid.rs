//! UIDs of pods.

use std::fmt;

use super::name::Name;

/// A pod's `metadata.uid`; empty where the source has none. A UUID in its usual form takes 16 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Form);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    Uuid([u8; 16]),
    /// Any other text.
    Text(Name),
    Empty,
}

/// The positions of the hyphens in a UUID's text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const LENGTH: usize = 36;

impl Uid {
    /// Whether the source has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == Form::Empty
    }
}

/// The number that a UUID's text stands for; `None` if it is written in another way.
fn number(text: &str) -> Option<u128> {
    let digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
    let mut number = 0;
    if text.len() != LENGTH {
        return None;
    }
    for (at, byte) in text.bytes().enumerate() {
        match HYPHENS.contains(&at) {
            true if byte == b'-' => {}
            false if digit(byte) => {
                number = number << 4 | u128::from(char::from(byte).to_digit(16)?);
            }
            _ => return None,
        }
    }
    Some(number)
}

impl Default for Uid {
    fn default() -> Self {
        Self(Form::Empty)
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(match (text, number(text)) {
            ("", _) => Form::Empty,
            (_, Some(number)) => Form::Uuid(number.to_be_bytes()),
            (_, None) => Form::Text(text.into()),
        })
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl PartialEq<str> for Uid {
    fn eq(&self, other: &str) -> bool {
        match &self.0 {
            Form::Uuid(bytes) => number(other).is_some_and(|it| it.to_be_bytes() == *bytes),
            Form::Text(text) => text == other,
            Form::Empty => other.is_empty(),
        }
    }
}

impl PartialEq<&str> for Uid {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl PartialEq<String> for Uid {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(bytes) => {
                let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
                let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|it| digits.get(it));
                write!(f, "{}", parts.map(Option::unwrap_or_default).join("-"))
            }
            Form::Text(text) => write!(f, "{text}"),
            Form::Empty => Ok(()),
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_stays_as_it_is() {
        let uuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        assert!(matches!(Uid::from(uuid).0, Form::Uuid(_)));
        let upper = uuid.to_uppercase();
        let short = &uuid[1..];
        let moved = "0a1b2c3-d4e5f-6071-8293-a4b5c6d7e8f9";
        for text in [uuid, &upper, short, moved, "", "u1", "ffffffff-ffff-ffff-ffff-ffffffffffff"] {
            assert_eq!(Uid::from(text).to_string(), text);
            let uid = Uid::from(text);
            assert!(uid == text && uid.is_empty() == text.is_empty());
        }
        assert_ne!(Uid::from(uuid), Uid::from(upper.as_str()));
        assert!(size_of::<Uid>() <= 24);
    }
}
