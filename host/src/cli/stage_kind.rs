//! The kind of a stage as a command-line argument.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use plimsoll_runtime::kind::StageKind;

/// Parses the name of any kind.
pub(in crate::cli) fn any() -> impl TypedValueParser<Value = StageKind> {
    PossibleValuesParser::new(StageKind::ALL.map(StageKind::as_str)).try_map(|name| name.parse::<StageKind>())
}
