//! Values that are texts in the file: how they look in the JSON Schema, and how they are written. What is written is read
//! as the same value.

use std::borrow::Cow;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

macro_rules! texts {
    ($($(#[$attribute:meta])* $name:ident: $schema:tt;)*) => {
        $(
            $(#[$attribute])*
            pub(super) struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        )*
    };
}

texts! {
    /// A number of bytes.
    Size: {
        "type": ["string", "integer"],
        "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtTpPeE]([iI])?)?[bB]?\s*$",
        "minimum": 0,
        "examples": ["32MiB"],
    };
    /// A time.
    Time: { "type": "string", "pattern": r"[0-9]\s*[a-zA-Zµ]+", "examples": ["500ms", "30s"] };
    /// A share of the requests.
    Share: { "type": "string", "pattern": r"^[0-9.]+\s*%$", "examples": ["5%"] };
    /// A text, a number, `true` or `false`.
    Scalar: { "type": ["string", "number", "boolean"] };
    /// A value of a plugin's settings.
    Setting: {};
    /// One or more addresses.
    Addresses: {
        "type": ["string", "array"],
        "items": { "type": "string" },
        "minItems": 1,
        "examples": ["127.0.0.1:8080", "unix:plimsoll.sock"],
    };
}

/// A size without rounding.
pub(super) fn size_text(size: ByteSize) -> String {
    let bytes = size.as_u64();
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn size<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&size_text(*size))
}

#[expect(clippy::ref_option, reason = "serde passes references")]
pub(super) fn optional_size<S: Serializer>(size: &Option<ByteSize>, serializer: S) -> Result<S::Ok, S::Error> {
    match size {
        Some(size) => serializer.serialize_some(&size_text(*size)),
        None => serializer.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn share_text<S: Serializer>(share: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&percent(*share))
}

#[expect(clippy::ref_option, reason = "serde passes references")]
pub(super) fn optional_share_text<S: Serializer>(share: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match share {
        Some(share) => serializer.serialize_some(&percent(*share)),
        None => serializer.serialize_none(),
    }
}

fn percent(share: f64) -> String {
    // 0.07 * 100.0 is not 7.
    format!("{}%", (share * 1e12).round() / 1e10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::share::parse_share;

    #[test]
    fn what_is_written_is_read_as_the_same_value() {
        for bytes in [0, 1, 1_000, 1_024, 1_025, 1 << 20, (1 << 20) + 1, 3 << 30, u64::from(u32::MAX)] {
            let text = size_text(ByteSize::b(bytes));
            assert_eq!(text.parse::<ByteSize>().expect("a size").as_u64(), bytes, "{text}");
        }
        for text in ["0.1%", "1%", "5%", "7%", "12.5%", "29%", "50%", "100%"] {
            assert_eq!(percent(parse_share(text).expect("a share")), text);
        }
    }
}
