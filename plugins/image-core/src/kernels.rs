//! The two passes of resizing, generic over [`Lanes`](crate::lanes::Lanes). Both use integer arithmetic, so the result is
//! bit-identical in every build.

mod horizontal;
mod tile;
mod vertical;

pub(crate) use horizontal::filter_row;
pub(crate) use tile::{accumulate_tile, filter_part, narrow_tile};
pub(crate) use vertical::{accumulate, filter_columns, narrow, pair};

/// The fraction bits of a sample between the passes. With its eight integer bits, a sample fills 15 bits.
pub(crate) const FRACTION: u32 = 7;
