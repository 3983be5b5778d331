//! The buffers of batches: reserved ones of the model, from which its device copies directly, or ordinary memory, which is
//! used again. A new buffer of some megabytes costs the kernel a page fault for each page; one that was used before costs
//! nothing.

use std::ops::Range;
use std::sync::Arc;

use crate::nn::host_buffers::HostBuffer;
use crate::nn::model::Model;
use crate::tensor::TensorBytes;

/// The most buffers of ordinary memory that are kept: two batches of a model with two inputs.
const KEPT: usize = 4;

/// The rows of one input of a batch.
pub(super) enum RowBuffer {
    /// Ordinary memory.
    Own(Vec<u8>),
    /// Reserved by the model.
    Reserved(HostBuffer),
}

impl RowBuffer {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(buffer) => buffer,
            Self::Reserved(buffer) => buffer.as_ref(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Appends rows. A reserved buffer without room for them is left for ordinary memory.
    pub(super) fn extend(&mut self, rows: &[u8]) {
        let buffer = match self {
            Self::Own(buffer) => return buffer.extend_from_slice(rows),
            Self::Reserved(buffer) => buffer,
        };
        if !buffer.extend(rows) {
            let mut own = Vec::with_capacity(buffer.as_ref().len() + rows.len());
            own.extend_from_slice(buffer.as_ref());
            own.extend_from_slice(rows);
            *self = Self::Own(own);
        }
    }

    /// Appends a copy of a part.
    pub(super) fn repeat(&mut self, part: Range<usize>) {
        match self {
            Self::Own(buffer) => buffer.extend_from_within(part),
            Self::Reserved(buffer) => {
                let part = buffer.as_ref()[part].to_vec();
                self.extend(&part);
            }
        }
    }

    /// Moves a part to an earlier place.
    pub(super) fn copy_within(&mut self, from: Range<usize>, to: usize) {
        match self {
            Self::Own(buffer) => buffer.copy_within(from, to),
            Self::Reserved(buffer) => buffer.copy_within(from, to),
        }
    }

    pub(super) fn truncate(&mut self, length: usize) {
        match self {
            Self::Own(buffer) => buffer.truncate(length),
            Self::Reserved(buffer) => buffer.truncate(length),
        }
    }

    /// The bytes of a tensor. A reserved buffer is idle again when the last of its views is dropped.
    pub(super) fn into_tensor_bytes(self) -> TensorBytes {
        match self {
            Self::Own(buffer) => buffer.into(),
            Self::Reserved(buffer) => buffer.into(),
        }
    }
}

/// The buffers that the next batches may use.
#[derive(Default)]
pub(super) struct SpareBuffers {
    /// The model with reserved buffers.
    model: Option<Arc<dyn Model>>,
    own: Vec<Vec<u8>>,
}

impl SpareBuffers {
    /// The buffers for batches of a model.
    pub(super) fn of(model: &Arc<dyn Model>) -> Self {
        Self { model: Some(Arc::clone(model)), own: Vec::new() }
    }

    /// An empty buffer with room for `bytes`: a reserved one, the smallest that was used before and is not much too large,
    /// or a new one.
    pub(super) fn take(&mut self, bytes: usize) -> RowBuffer {
        match self.model.as_ref().and_then(|model| model.buffer(bytes)) {
            Some(reserved) => RowBuffer::Reserved(reserved),
            None => RowBuffer::Own(self.take_own(bytes)),
        }
    }

    fn take_own(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&buffer.capacity());
        let best = self.own.iter().enumerate().filter(|(_, buffer)| fits(buffer)).min_by_key(|(_, it)| it.capacity());
        match best.map(|(index, _)| index) {
            Some(index) => self.own.swap_remove(index),
            None => Vec::with_capacity(bytes),
        }
    }

    /// Keeps a buffer, instead of the oldest one if there are enough.
    pub(super) fn put(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if self.own.len() == KEPT {
            self.own.remove(0);
        }
        self.own.push(buffer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Returns the memory.
    pub(super) fn clear(&mut self) {
        self.own = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::host_buffers::HostBuffers;

    #[test]
    fn a_buffer_is_used_again_if_it_fits() {
        let mut spare = SpareBuffers::default();
        for bytes in [100, 10, 40] {
            let mut buffer = Vec::with_capacity(bytes);
            buffer.push(1);
            spare.put(buffer);
        }
        let taken = spare.take_own(30);
        assert_eq!((taken.len(), taken.capacity()), (0, 40), "empty, and the smallest that fits");
        assert!(spare.take_own(30).capacity() < 100, "100 bytes are too many for 30");
        assert_eq!(spare.take_own(60).capacity(), 100);
        (1..=6).for_each(|bytes| spare.put(Vec::with_capacity(bytes * 100)));
        assert_eq!(
            spare.own.iter().map(Vec::capacity).collect::<Vec<_>>(),
            [300, 400, 500, 600],
            "the oldest are gone"
        );
        spare.clear();
        assert!(spare.is_empty());
    }

    /// What a buffer holds does not depend on where it is.
    #[test]
    fn a_reserved_buffer_holds_what_ordinary_memory_would() {
        let reserved = |bytes: usize| {
            let buffers = Arc::new(HostBuffers::default());
            buffers.add(Box::new(vec![9_u8; bytes]));
            RowBuffer::Reserved(buffers.take(bytes).expect("one"))
        };
        for room in [6, 8, 64] {
            for mut buffer in [reserved(room), RowBuffer::Own(Vec::new())] {
                [[1, 2], [3, 4], [5, 6]].iter().for_each(|row| buffer.extend(row));
                buffer.copy_within(4..6, 2);
                buffer.truncate(4);
                buffer.repeat(2..4);
                buffer.repeat(0..2);
                assert_eq!((buffer.len(), &*buffer.into_tensor_bytes()), (8, &[1, 2, 5, 6, 5, 6, 1, 2][..]), "{room}");
            }
        }
    }
}
