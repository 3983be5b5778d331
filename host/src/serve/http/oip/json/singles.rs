//! Reads numbers of single precision with one rounding. The parser of JSON takes a number as a double, and the double next to a
//! text may be exactly between two numbers of single precision.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Returns true if the number of single precision next to a text may not be `narrow`, if the double next to it is `value`:
/// the double is as far from `narrow` as from another one. Small numbers have fewer digits, and all of them may be.
pub(super) fn may_be_rounded_twice(value: f64, narrow: f32) -> bool {
    /// The bits of a double that single precision does not have.
    const MORE: u64 = (1 << 29) - 1;
    f64::from(narrow) != value && (value.to_bits() & MORE == 1 << 28 || value.abs() < f64::from(f32::MIN_POSITIVE))
}

/// Reads numbers of single precision from their texts, with one rounding each. The lists were checked before.
pub(super) struct Singles<'a>(pub(super) &'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Singles<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.starts_with('[') {
            return serde_json::Deserializer::from_str(text).deserialize_seq(self).map_err(D::Error::custom);
        }
        let number: f32 = text.parse().map_err(D::Error::custom)?;
        self.0.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }
}

impl<'de> Visitor<'de> for Singles<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers in a list or in nested lists")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Singles(&mut *self.0))?.is_some() {}
        Ok(())
    }
}
