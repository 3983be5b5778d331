//! What both orders of the filters share.

use std::rc::Rc;

use super::finished::FinishedRows;
use super::samples::Samples;
use crate::windows::Windows;

/// The windows, a row of samples, the result, and how far it is.
pub(super) struct Common {
    pub(super) horizontal: Rc<Windows>,
    pub(super) vertical: Rc<Windows>,
    pub(super) samples: Samples,
    pub(super) finished: FinishedRows,
    /// The number of rows that have arrived.
    pub(super) seen: usize,
    /// The number of finished rows of the result.
    pub(super) done: usize,
}
