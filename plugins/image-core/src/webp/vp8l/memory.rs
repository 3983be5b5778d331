//! The memory that a lossless image may still take.

use crate::limits::{Limits, Rejected};

pub(in crate::webp) struct Memory {
    limits: Limits,
    left: u64,
}

impl Memory {
    pub(in crate::webp) fn new(limits: Limits, left: u64) -> Self {
        Memory { limits, left }
    }

    /// Call before values of this type are allocated.
    ///
    /// # Errors
    /// [`Rejected::TooLarge`] if they need more than is left.
    pub(super) fn take<T>(&mut self, values: usize) -> Result<(), Rejected> {
        let bytes = values as u64 * size_of::<T>() as u64;
        self.left =
            self.left.checked_sub(bytes).ok_or_else(|| self.limits.exceeded("WebP", "its codes are too large"))?;
        Ok(())
    }
}
