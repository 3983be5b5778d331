//! Buffers of earlier batches. A new buffer of some megabytes costs the kernel a page fault for each page; one that was
//! used before costs nothing.

/// The most buffers that are kept: two batches of a model with two inputs.
const KEPT: usize = 4;

/// The buffers that the next batches may use.
#[derive(Default)]
pub(super) struct SpareBuffers(Vec<Vec<u8>>);

impl SpareBuffers {
    /// An empty buffer with room for `bytes`: the smallest that was used before and is not much too large, or a new
    /// one.
    pub(super) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&buffer.capacity());
        let best = self.0.iter().enumerate().filter(|(_, buffer)| fits(buffer)).min_by_key(|(_, it)| it.capacity());
        match best.map(|(index, _)| index) {
            Some(index) => self.0.swap_remove(index),
            None => Vec::with_capacity(bytes),
        }
    }

    /// Keeps a buffer, instead of the oldest one if there are enough.
    pub(super) fn put(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(buffer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the memory.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_if_it_fits() {
        let mut spare = SpareBuffers::default();
        for bytes in [100, 10, 40] {
            let mut buffer = Vec::with_capacity(bytes);
            buffer.push(1);
            spare.put(buffer);
        }
        let taken = spare.take(30);
        assert_eq!((taken.len(), taken.capacity()), (0, 40), "empty, and the smallest that fits");
        assert!(spare.take(30).capacity() < 100, "100 bytes are too many for 30");
        assert_eq!(spare.take(60).capacity(), 100);
        (1..=6).for_each(|bytes| spare.put(Vec::with_capacity(bytes * 100)));
        assert_eq!(spare.0.iter().map(Vec::capacity).collect::<Vec<_>>(), [300, 400, 500, 600], "the oldest are gone");
        spare.clear();
        assert!(spare.is_empty());
    }
}
