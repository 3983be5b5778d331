//! Buffers for the inputs of runs in memory of the library, from which a device copies without an intermediate copy
//! ("pinned" memory). They are reserved when a model is admitted: to allocate them may wait for the device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::tensor::TensorBytes;

/// Memory of a library. It is freed when it is dropped.
pub trait HostBlock: AsRef<[u8]> + AsMut<[u8]> + Send + Sync {}

impl<T: AsRef<[u8]> + AsMut<[u8]> + Send + Sync> HostBlock for T {}

/// The reserved buffers of a model.
#[derive(Default)]
pub struct HostBuffers {
    idle: Mutex<Vec<Box<dyn HostBlock>>>,
}

/// A reserved buffer in use, by one batch only. It is idle again when it is dropped.
pub struct HostBuffer {
    /// Present until it is dropped.
    block: Option<Box<dyn HostBlock>>,
    length: usize,
    home: Arc<HostBuffers>,
}

impl HostBuffers {
    fn idle(&self) -> MutexGuard<'_, Vec<Box<dyn HostBlock>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a buffer.
    pub fn add(&self, block: Box<dyn HostBlock>) {
        self.idle().push(block);
    }

    /// An empty buffer with room for `bytes`: the smallest that is idle. Never allocates, so it never waits for the device.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<HostBuffer> {
        let mut idle = self.idle();
        let size = |block: &dyn HostBlock| block.as_ref().len();
        let fitting = idle.iter().enumerate().filter(|(_, block)| size(&***block) >= bytes);
        let index = fitting.min_by_key(|(_, block)| size(&***block)).map(|(index, _)| index)?;
        let block = Some(idle.swap_remove(index));
        Some(HostBuffer { block, length: 0, home: Arc::clone(self) })
    }
}

impl HostBuffer {
    fn block(&self) -> &[u8] {
        self.block.as_deref().map_or(&[], |block| block.as_ref())
    }

    fn block_mut(&mut self) -> &mut [u8] {
        self.block.as_deref_mut().map_or(&mut [], |block| block.as_mut())
    }

    /// Appends bytes. Returns false, and changes nothing, if there is no room for them.
    #[must_use]
    pub fn extend(&mut self, bytes: &[u8]) -> bool {
        let (from, to) = (self.length, self.length.saturating_add(bytes.len()));
        let Some(free) = self.block_mut().get_mut(from..to) else { return false };
        free.copy_from_slice(bytes);
        self.length = to;
        true
    }

    /// Moves a part to an earlier place.
    ///
    /// # Panics
    /// If one of the two is not inside the bytes.
    pub fn copy_within(&mut self, from: std::ops::Range<usize>, to: usize) {
        let length = self.length;
        self.block_mut()[..length].copy_within(from, to);
    }

    /// Forgets the bytes from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl AsRef<[u8]> for HostBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.block()[..self.length]
    }
}

/// The buffer is idle again when the last of the views of the bytes is dropped.
impl From<HostBuffer> for TensorBytes {
    fn from(buffer: HostBuffer) -> Self {
        Bytes::from_owner(buffer).into()
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.home.add(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_belongs_to_one_batch_until_it_is_dropped() {
        let buffers = Arc::new(HostBuffers::default());
        for bytes in [8, 4] {
            buffers.add(Box::new(vec![7_u8; bytes]));
        }
        let mut first = buffers.take(3).expect("the smaller one");
        assert!(first.as_ref().is_empty(), "what it held before is not shown");
        assert!(first.extend(&[1, 2, 3, 4]) && !first.extend(&[5]), "it has four bytes");
        first.copy_within(2..4, 0);
        first.truncate(2);
        assert_eq!(first.as_ref(), [3, 4]);
        let second = buffers.take(1).expect("the larger one");
        assert!(buffers.take(1).is_none(), "both are in use");
        drop(second);
        assert!(buffers.take(9).is_none() && buffers.take(8).is_some());
        assert_eq!(first.as_ref(), [3, 4]);
        drop(first);
        assert_eq!(buffers.idle().len(), 2);
    }
}
