//! Objects of JSON and tables of TOML. A struct that derives `Deserialize` also accepts a list of its members in their
//! order, which no client should write and no document allows.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A value that is read only from an object of JSON, never from a list of its members.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members { expected: "an object", value: PhantomData }).map(Self)
    }
}

struct Members<T> {
    /// For messages.
    expected: &'static str,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

/// A value that is read only from a table.
struct Table<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table(deserializer).map(Self)
    }
}

/// Reads a value from a table, for `#[serde(deserialize_with)]`.
///
/// # Errors
/// If it is not a table, or not a valid one.
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Members { expected: "a table", value: PhantomData })
}

/// As [`table`], for a table that may be missing.
///
/// # Errors
/// As [`table`].
pub fn optional_table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Table(value)| value))
}

/// As [`table`], for tables by name.
///
/// # Errors
/// As [`table`].
pub fn tables<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let tables: BTreeMap<_, Table<T>> = BTreeMap::deserialize(deserializer)?;
    Ok(tables.into_iter().map(|(name, Table(value))| (name, value)).collect())
}
