//! One container: what is known of it, and what makes blocks that follow each other a container.

/// Minimum replacements of a container if nothing else is known of it.
pub(super) const MIN_REPLACEMENTS: usize = 4;
/// Minimum bytes of a container of which few replacements are known, and of steps of one size.
pub(super) const LARGE: u32 = 1_024;
/// Maximum factor between the largest and the smallest ratio of successive sizes: a container grows by a constant factor, or
/// by a constant number of bytes. Blocks of any sizes that only follow each other do not.
pub(super) const SAME_FACTOR: f64 = 1.2;

/// A block that was replaced by a larger one again and again, or an arena.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// The call that made the first block; 0 if it was there before.
    pub(super) since: usize,
    /// For each replacement: the number of calls before it, and the bytes that were full then.
    pub(super) grown: Vec<(usize, u32)>,
    /// Bytes now.
    pub(super) size: u32,
    /// The addresses of its blocks.
    pub blocks: Vec<u32>,
}
