//! What concerns plugins in languages with a collector.

use serde::Serialize;

use crate::verdict::Held;

/// The interpreter of a plugin in Python.
#[derive(Debug, Clone, Serialize)]
pub struct PythonReport {
    /// The version of CPython.
    pub version: String,
    /// True if its objects can be read.
    pub is_known: bool,
    /// True if its collector (`gc.collect`) was run after each round.
    pub collects: bool,
}

/// The collector of a plugin in a language other than Python.
#[derive(Debug, Clone, Serialize)]
pub struct CollectionReport {
    /// The language.
    pub language: &'static str,
    /// True if a collection was seen at the end of each round. Otherwise garbage cannot be told from a leak.
    pub is_seen: bool,
}

/// Objects of JavaScript of one class of the engine of which there are more and more.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectGrowth {
    /// The engine's name of the class: `Error`, `Uint8Array`, `Function`; `Object` for classes of the plugin, too.
    pub name: String,
    /// How many there are more at the end than after half of the rounds.
    pub objects: u64,
    /// The same per request.
    pub per_request: f64,
}

/// Python objects of one type that leak.
#[derive(Debug, Clone, Serialize)]
pub struct TypeGrowth {
    /// Index of the class whose calls made the objects.
    pub class: usize,
    /// The type's name.
    pub name: String,
    /// Objects that were made after the first round and are in use at the end.
    pub objects: u64,
    /// Their bytes, with the storage of dicts, lists and bytearrays.
    pub bytes: u64,
    /// Bytes per request of the class.
    pub per_request: f64,
    /// What each round made, from the first one.
    pub rounds: Vec<Held>,
}

impl TypeGrowth {
    /// What the first `count` rounds made.
    pub fn until(&self, count: usize) -> Held {
        self.rounds
            .iter()
            .take(count)
            .fold(Held::default(), |sum, held| Held { bytes: sum.bytes + held.bytes, blocks: sum.blocks + held.blocks })
    }
}
