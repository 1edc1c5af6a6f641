//! Reads only the wanted fields of JSON: the others never take memory.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Which parts of a JSON value to keep.
#[derive(Debug)]
pub(super) enum Keep {
    /// All of it.
    All,
    /// These fields of a mapping.
    Fields(&'static [(&'static str, Self)]),
    /// This of each entry of a list.
    Each(&'static Self),
}

/// Never fails because of a value's type: a value that should be a mapping or a list but is not
/// stays recognisable, so that the next reader can report it.
impl<'de> DeserializeSeed<'de> for &Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Keep::All => Value::deserialize(deserializer),
            Keep::Fields(_) | Keep::Each(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for &Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        if let Keep::Each(keep) = self {
            while let Some(value) = list.next_element_seed(*keep)? {
                kept.push(value);
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let fields: &'static [Field] = match self {
            Keep::Fields(fields) => fields,
            _ => &[],
        };
        let mut kept = Map::new();
        while let Some(field) = map.next_key_seed(Wanted(fields))? {
            match field {
                Some((name, keep)) => {
                    kept.insert((*name).to_owned(), map.next_value_seed(keep)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }
}

type Field = (&'static str, Keep);

/// Finds a key among the wanted ones.
struct Wanted(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Wanted {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(name, _)| *name == key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEEP: Keep = Keep::Fields(&[
        ("meta", Keep::Fields(&[("name", Keep::All)])),
        ("list", Keep::Each(&Keep::Fields(&[("port", Keep::All)]))),
        ("all", Keep::All),
    ]);

    fn prune(value: &Value) -> Value {
        (&KEEP).deserialize(&mut serde_json::Deserializer::from_str(&value.to_string())).unwrap()
    }

    #[test]
    fn keeps_what_is_wanted_and_nothing_else() {
        let value = json!({
            "meta": {"name": "a", "more": {"deep": [1]}}, "other": [[], {}],
            "list": [{"port": 1, "x": 2}, {"x": 3}], "all": {"a": [1, null, 2.5]},
        });
        let kept = json!({
            "meta": {"name": "a"}, "list": [{"port": 1}, {}], "all": {"a": [1, null, 2.5]},
        });
        assert_eq!(prune(&value), kept);
    }

    #[test]
    fn other_shapes_stay_recognisable() {
        for odd in [json!(null), json!(1), json!(-1), json!(1.5), json!(true), json!("x")] {
            assert_eq!(prune(&odd), odd);
            assert_eq!(
                prune(&json!({"meta": odd, "list": [odd]})),
                json!({"meta": odd, "list": [odd]})
            );
        }
        assert_eq!(prune(&json!([1, {"name": 2}])), json!([]));
        assert_eq!(
            prune(&json!({"meta": [1], "list": {"port": 1}})),
            json!({"meta": [], "list": {}})
        );
    }
}
