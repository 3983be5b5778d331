//! The numbers of rows that batches are padded to. A device that prepares itself for every new shape of inputs (cuDNN
//! tries its algorithms for seconds) gets only these numbers, each of them first at admission.

/// The numbers of rows of batches, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSizes(Vec<u32>);

/// The largest size. Every size is run at admission, on inputs that the host makes.
const LARGEST: u32 = 4_096;

/// A list of sizes that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchSizesError {
    /// There is no size.
    #[error("must have at least one size; remove it for the default")]
    Empty,
    /// A size is 0.
    #[error("must not contain 0: a batch has at least one row")]
    Zero,
    /// A size is not larger than the size before it.
    #[error("must be in ascending order without repetitions: {size} comes after {before}")]
    Order {
        /// The size.
        size: u32,
        /// The size before it.
        before: u32,
    },
    /// A size is larger than a batch may be.
    #[error("{size} is larger than `max_batch`, which is {max_batch}; no batch would have this size")]
    AboveMaximum {
        /// The size.
        size: u32,
        /// The maximum rows of a batch.
        max_batch: u32,
    },
    /// The largest batch has no size.
    #[error(
        "the last size is {last}, but batches may have up to {max_batch} rows; add {max_batch}, or lower `max_batch`"
    )]
    BelowMaximum {
        /// The last size.
        last: u32,
        /// The maximum rows of a batch.
        max_batch: u32,
    },
    /// The largest size is too large to be run at admission.
    #[error("{0} rows are too many: every size is run at the start, and {LARGEST} is the most")]
    TooLarge(u32),
}

/// A part of a run: its own rows, and the rows that are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) rows: u32,
    pub(super) size: u32,
}

impl BatchSizes {
    /// Checks the sizes for batches of at most `max_batch` rows.
    ///
    /// # Errors
    /// The first size that is wrong, and why.
    pub fn new(sizes: Vec<u32>, max_batch: u32) -> Result<Self, BatchSizesError> {
        let Some(&last) = sizes.last() else { return Err(BatchSizesError::Empty) };
        if sizes.contains(&0) {
            return Err(BatchSizesError::Zero);
        }
        if let Some(pair) = sizes.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(BatchSizesError::Order { size: pair[1], before: pair[0] });
        }
        if last > max_batch {
            return Err(BatchSizesError::AboveMaximum { size: last, max_batch });
        }
        if last < max_batch {
            return Err(BatchSizesError::BelowMaximum { last, max_batch });
        }
        if last > LARGEST {
            return Err(BatchSizesError::TooLarge(last));
        }
        Ok(Self(sizes))
    }

    /// The powers of two up to `max_batch`, and `max_batch`.
    ///
    /// # Errors
    /// If `max_batch` is 0 or too large.
    pub fn powers_of_two(max_batch: u32) -> Result<Self, BatchSizesError> {
        let powers = std::iter::successors(Some(1u32), |size| size.checked_mul(2));
        Self::new(powers.take_while(|&size| size < max_batch).chain([max_batch]).collect(), max_batch)
    }

    /// The sizes.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// Returns true if a run of this many rows needs no padding.
    pub(super) fn contains(&self, rows: u32) -> bool {
        self.0.binary_search(&rows).is_ok()
    }

    /// How many rows a run needs to reach the next size. `None` if it is larger than all sizes.
    pub(super) fn padding(&self, rows: u32) -> Option<u32> {
        self.0.iter().find(|&&size| size >= rows).map(|size| size - rows)
    }

    /// Divides a run: parts of the largest size, and the rest, padded to the next size.
    pub(super) fn parts(&self, rows: u32) -> impl Iterator<Item = Part> {
        let mut left = rows;
        std::iter::from_fn(move || {
            let size = self.0.iter().copied().find(|&size| size >= left).or(self.0.last().copied())?;
            let rows = size.min(left);
            left -= rows;
            (rows > 0).then_some(Part { rows, size })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_padded_to_the_next_size_and_divided_if_it_is_larger_than_all() {
        let sizes = BatchSizes::powers_of_two(12).expect("valid");
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [1, 2, 4, 8, 12]);
        let parts = |rows| sizes.parts(rows).map(|part| (part.rows, part.size)).collect::<Vec<_>>();
        assert_eq!(parts(1), [(1, 1)]);
        assert_eq!(parts(3), [(3, 4)]);
        assert_eq!(parts(9), [(9, 12)]);
        assert_eq!(parts(12), [(12, 12)]);
        assert_eq!(parts(27), [(12, 12), (12, 12), (3, 4)]);
        for rows in 1..100 {
            assert_eq!(sizes.parts(rows).map(|part| part.rows).sum::<u32>(), rows);
            assert!(sizes.parts(rows).all(|part| sizes.contains(part.size) && part.rows <= part.size));
        }
        assert_eq!([1, 3, 9, 12, 13].map(|rows| sizes.padding(rows)), [Some(0), Some(1), Some(3), Some(0), None]);
        assert_eq!(BatchSizes::powers_of_two(1).expect("valid"), BatchSizes(vec![1]));
        assert_eq!(BatchSizes::powers_of_two(u32::MAX), Err(BatchSizesError::TooLarge(u32::MAX)));
    }

    #[test]
    fn sizes_that_cannot_be_used_are_refused() {
        let refused = |sizes: &[u32]| BatchSizes::new(sizes.to_vec(), 8).expect_err("refused");
        assert_eq!(refused(&[]), BatchSizesError::Empty);
        assert_eq!(refused(&[0, 8]), BatchSizesError::Zero);
        assert_eq!(refused(&[4, 2, 8]), BatchSizesError::Order { size: 2, before: 4 });
        assert_eq!(refused(&[8, 8]), BatchSizesError::Order { size: 8, before: 8 });
        assert_eq!(refused(&[4, 16]), BatchSizesError::AboveMaximum { size: 16, max_batch: 8 });
        assert_eq!(refused(&[1, 4]), BatchSizesError::BelowMaximum { last: 4, max_batch: 8 });
    }
}
