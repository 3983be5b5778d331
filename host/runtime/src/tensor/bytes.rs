//! The bytes of a tensor: a buffer of their own, or a part of a buffer that several tensors share.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

/// The bytes of a tensor. A clone shares them.
#[derive(Clone)]
pub struct TensorBytes(Held);

#[derive(Clone)]
enum Held {
    /// A buffer of the tensor's own.
    Whole(Arc<Vec<u8>>),
    /// A part of a buffer, or memory of a library that runs models.
    View(Bytes),
}

/// Lets a view keep a whole buffer.
struct Owner(Arc<Vec<u8>>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl TensorBytes {
    /// The bytes of a range, without a copy. The buffer is kept as long as one of its views.
    ///
    /// # Panics
    /// If the range is not inside the bytes.
    #[must_use]
    pub fn view(&self, range: Range<usize>) -> Self {
        match &self.0 {
            Held::Whole(buffer) if range == (0..buffer.len()) => self.clone(),
            Held::Whole(buffer) => Bytes::from_owner(Owner(Arc::clone(buffer))).slice(range).into(),
            Held::View(bytes) => bytes.slice(range).into(),
        }
    }

    /// The bytes as a buffer that can be shared; the bytes of a view are copied.
    pub fn to_shared(&self) -> Arc<Vec<u8>> {
        match &self.0 {
            Held::Whole(buffer) => Arc::clone(buffer),
            Held::View(bytes) => Arc::new(bytes.to_vec()),
        }
    }

    /// The bytes in a buffer of their own: those of a view are copied, so that it no longer keeps a larger buffer.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Held::Whole(self.to_shared()))
    }

    /// The bytes without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Held::Whole(buffer) => match Arc::try_unwrap(buffer) {
                Ok(buffer) => buffer.into(),
                Err(shared) => Bytes::from_owner(Owner(shared)),
            },
            Held::View(bytes) => bytes,
        }
    }

    /// The buffer, if nothing else uses it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        match self.0 {
            Held::Whole(buffer) => Arc::try_unwrap(buffer).ok(),
            Held::View(_) => None,
        }
    }
}

impl From<Vec<u8>> for TensorBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Held::Whole(Arc::new(bytes)))
    }
}

impl From<Bytes> for TensorBytes {
    fn from(bytes: Bytes) -> Self {
        Self(Held::View(bytes))
    }
}

impl Deref for TensorBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Whole(buffer) => buffer,
            Held::View(bytes) => bytes,
        }
    }
}

impl PartialEq for TensorBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for TensorBytes {}

impl fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_share_the_buffer_and_outlive_it() {
        let whole = TensorBytes::from((0..8).collect::<Vec<u8>>());
        let start = whole.as_ptr();
        let (view, same) = (whole.view(2..6), whole.view(0..8));
        assert_eq!((view.as_ptr(), &*view), (start.wrapping_add(2), &[2, 3, 4, 5][..]));
        let inner = view.view(1..3);
        assert_eq!((inner.as_ptr(), &*inner), (start.wrapping_add(3), &[3, 4][..]));
        assert_eq!(same.to_shared().as_ptr(), start, "the whole is no view");
        assert_ne!(inner.to_shared().as_ptr(), inner.as_ptr());
        assert_eq!(*inner.to_shared(), [3, 4]);
        assert_eq!(whole.detached().as_ptr(), start);
        assert!(inner.detached() == inner && inner.detached().as_ptr() != inner.as_ptr());
        assert_eq!(whole.into_buffer(), None, "it is in use");
        drop((view, same));
        assert_eq!((inner.as_ptr(), &*inner), (start.wrapping_add(3), &[3, 4][..]), "kept by its last view");
        assert_eq!(inner.into_buffer(), None);
    }

    #[test]
    fn a_buffer_that_nothing_shares_is_taken_back() {
        let buffer = vec![1, 2, 3];
        let start = buffer.as_ptr();
        let bytes = TensorBytes::from(buffer).into_bytes();
        assert_eq!((bytes.as_ptr(), &*bytes), (start, &[1, 2, 3][..]));
        let shared = TensorBytes::from(vec![4, 5]);
        let start = shared.as_ptr();
        let bytes = shared.clone().into_bytes();
        assert_eq!((bytes.as_ptr(), &*bytes), (start, &[4, 5][..]));
        drop(bytes);
        assert_eq!(shared.into_buffer().map(|buffer| buffer.as_ptr()), Some(start));
    }
}
