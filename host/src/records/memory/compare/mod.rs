//! Is a difference in memory due to the chip, or to the mix of inputs?
//!
//! Mean high-water marks of two levels (two chips, two versions …) are compared as they are, and by direct
//! standardisation, as epidemiology compares death rates of populations of different age (Rothman, Lash, VanderWeele and
//! Haneuse, "Modern Epidemiology", 4th edition, chapter 3): within each stratum (outcome, caller …) that occurs on both
//! sides, weighted by the stratum's share of both sides' runs together. What remains of the difference is not due to
//! the mix of strata; what goes away is.
//!
//! - [`samples`]: what is compared. [`standardise`]: direct standardisation of two levels.
//! - `sentence`: what explains a difference, in words. [`levels`]: the comparison of all levels of all stages.

pub mod levels;
pub mod samples;
mod sentence;
pub mod standardise;

pub use levels::{Comparison, compare};
pub use samples::{Cell, Factor, Sample};
