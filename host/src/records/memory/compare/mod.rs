//! Is a difference in memory due to the chip, or to the mix of inputs?
//!
//! The mean high-water marks of two levels (two chips, two versions …) are compared in two ways: as measured, and by
//! direct standardisation, which epidemiology uses to compare death rates of populations of different age (Rothman,
//! Lash, VanderWeele and Haneuse, "Modern Epidemiology", 4th edition, chapter 3). Standardisation compares the means
//! within each stratum (outcome, caller …) that occurs on both sides, and weights each stratum by its share of the runs
//! of both sides together. The part of the difference that remains is not due to the mix of strata; the part that
//! disappears is.
//!
//! - [`samples`]: the input of the comparison. [`standardise`]: direct standardisation of two levels.
//! - `sentence`: explains a difference in words. [`levels`]: compares all levels of all stages.

pub mod levels;
pub mod samples;
mod sentence;
pub mod standardise;

pub use levels::{Comparison, compare};
pub use samples::{Cell, Factor, Sample, UnknownFactor};
