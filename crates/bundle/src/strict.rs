//! JSON without loose ends: no duplicate keys, no fractions, no deep nesting, nothing after it.
//!
//! `serde_json` takes the last of two equal keys and any depth up to its own limit; a signed
//! document must mean one thing to every reader. Source: docs/bundle-format.md, "Manifest".

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of objects and arrays.
const DEPTH: u8 = 16;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StrictError {
    reason: String,
}

/// Reads `bytes` as one `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StrictError> {
    let refused = |e: serde_json::Error| StrictError {
        reason: e.to_string(),
    };
    let text = std::str::from_utf8(bytes).map_err(|e| StrictError {
        reason: format!("not UTF-8: {e}"),
    })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    Shape { depth: DEPTH }
        .deserialize(&mut reader)
        .map_err(refused)?;
    reader.end().map_err(refused)?;
    serde_json::from_str(text).map_err(refused)
}

/// A value that is looked through and thrown away.
struct Shape {
    depth: u8,
}

impl Shape {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested deeper than {DEPTH}"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a whole number, true, false, an array or an object")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<(), E> {
        Err(E::custom(format_args!("the number {n} is below zero")))
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<(), E> {
        Err(E::custom(format_args!("the number {n} is not whole")))
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("null stands nowhere in this format"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.inner::<A::Error>()?.depth;
        while seq.next_element_seed(Self { depth: inner })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.inner::<A::Error>()?.depth;
        let mut seen = Keys::default();
        while let Some(key) = map.next_key_seed(Key)? {
            if !seen.add(key.clone()) {
                let told = format_args!("the key {key:?} stands there twice").to_string();
                return Err(serde::de::Error::custom(told));
            }
            map.next_value_seed(Self { depth: inner })?;
        }
        Ok(())
    }
}

/// A key, borrowed from the text wherever it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The keys of one object so far: a list while it is short, which nearly all are.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    /// False when the key was there.
    fn add(&mut self, key: Cow<'de, str>) -> bool {
        if self.few.len() < 24 {
            let new = !self.few.contains(&key);
            self.few.push(key);
            return new;
        }
        if self.many.is_empty() {
            self.many.extend(self.few.iter().cloned());
        }
        self.many.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn one_meaning_for_every_reader() {
        assert!(from_slice::<Value>(br#"{"a":[1,{"b":"x"}],"c":true}"#).is_ok());
        for (text, said) in [
            (r#"{"seq":1,"seq":2}"#, "twice"),
            (r#"{"a":{"b":1,"b":1}}"#, "twice"),
            (r#"{"a":1.0}"#, "not whole"),
            (r#"{"a":-1}"#, "below zero"),
            (r#"{"a":null}"#, "null"),
            (r#"{"a":1} {"#, "trailing"),
            ("[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]", "deeper"),
        ] {
            let error = from_slice::<Value>(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
        assert!(from_slice::<Value>(b"\"\xff\"").is_err());
        let long: Vec<String> = (0..100).map(|n| format!("\"k{n}\":1")).collect();
        let long = long.join(",");
        assert!(from_slice::<Value>(format!("{{{long}}}").as_bytes()).is_ok());
        for again in ["k0", "k50", "k99", "\\u006b7"] {
            let text = format!("{{{long},\"{again}\":1}}");
            let error = from_slice::<Value>(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("twice"), "{again}: {error}");
        }
    }
}
