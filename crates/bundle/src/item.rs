//! Reads an item: its kind first, as this format writes it, and then its fields in one go.
//!
//! A manifest holds tens of thousands of items; none is kept aside to look for its kind, unless
//! somebody else wrote it in another order.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::manifest::Item;

const KIND: &str = "kind";

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Oci,
    Action,
    Pypi,
    Toolcache,
    File,
    Doc,
    Selfupdate,
}

impl Kind {
    fn item<'de, D: Deserializer<'de>>(self, fields: D) -> Result<Item, D::Error> {
        Ok(match self {
            Self::Oci => Item::Oci(Deserialize::deserialize(fields)?),
            Self::Action => Item::Action(Deserialize::deserialize(fields)?),
            Self::Pypi => Item::Pypi(Deserialize::deserialize(fields)?),
            Self::Toolcache => Item::Toolcache(Deserialize::deserialize(fields)?),
            Self::File => Item::File(Deserialize::deserialize(fields)?),
            Self::Doc => Item::Doc(Deserialize::deserialize(fields)?),
            Self::Selfupdate => Item::Selfupdate(Deserialize::deserialize(fields)?),
        })
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item with its kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let Some(mut key) = map.next_key::<Cow<'de, str>>()? else {
            return Err(Error::missing_field(KIND));
        };
        if key == KIND {
            let kind: Kind = map.next_value()?;
            return kind.item(MapAccessDeserializer::new(map));
        }
        let mut kind: Option<Kind> = None;
        let mut fields = Map::new();
        loop {
            if key != KIND {
                fields.insert(key.into_owned(), map.next_value()?);
            } else if kind.replace(map.next_value()?).is_some() {
                return Err(Error::duplicate_field(KIND));
            }
            match map.next_key()? {
                Some(next) => key = next,
                None => break,
            }
        }
        let kind = kind.ok_or_else(|| Error::missing_field(KIND))?;
        kind.item(Value::Object(fields)).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_in_any_order_and_with_nothing_more_than_its_fields() {
        let digest = vocab::Digest::of(b"x");
        let source = r#""source":{"uri":"u","checked":"c"}"#;
        let first = format!(r#"{{"kind":"file","name":"a","d":"{digest}",{source}}}"#);
        let last = format!(r#"{{"name":"a",{source},"d":"{digest}","kind":"file"}}"#);
        let read = |text: &str| serde_json::from_str::<Item>(text);
        let item = read(&first).unwrap();
        assert_eq!(serde_json::to_string(&item).unwrap(), first);
        assert_eq!(read(&last).unwrap(), item);
        for (text, said) in [
            (first.replace("\"file\"", "\"npm\""), "npm"),
            (first.replacen("\"kind\"", "\"sort\"", 1), "kind"),
            (first.replace("\"a\"", "\"a\",\"b\":1"), "b"),
            (last.replace("\"a\"", "\"a\",\"b\":1"), "b"),
            (first.replace("\"a\"", "\"a\",\"kind\":\"doc\""), "kind"),
            (last.replace("\"a\"", "\"a\",\"kind\":\"doc\""), "kind"),
            (first.replace("\"name\":\"a\",", ""), "name"),
            ("{}".to_owned(), "kind"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
