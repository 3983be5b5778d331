//! Memory of the host from which a device copies directly ("pinned"), by the library's allocator for it. The crate `ort` has
//! no function for the memory of a further library, and its blocks cannot be kept beside their allocator.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use ort::device::Device;
use ort::memory::MemoryInfo;
use ort::{AsPointer, Error, sys};

use super::shared_session::SharedSession;

/// A description of memory: of a kind, and of a device.
pub(in crate::nn) struct Place(Info);

enum Info {
    Owned(MemoryInfo<'static>),
    /// Belongs to a device of a further library.
    OfDevice(NonNull<sys::OrtMemoryInfo>),
}

// SAFETY: a description is never changed after it was made; the functions that take one read it. That of a device belongs
// to the library's environment, which this process never releases (`library.rs` keeps it in a static).
#[allow(unsafe_code, reason = "a description of memory is used by the threads of all runs")]
unsafe impl Send for Place {}
// SAFETY: see above.
#[allow(unsafe_code, reason = "a description of memory is used by the threads of all runs")]
unsafe impl Sync for Place {}

impl Place {
    /// The memory that a description of the crate names.
    pub(in crate::nn) fn new(info: MemoryInfo<'static>) -> Self {
        Self(Info::Owned(info))
    }

    /// The memory of the host that the provider of a device of a further library names; `None` if it names none.
    #[allow(unsafe_code, reason = "no safe function tells the memory of the host that a device reads")]
    pub(in crate::nn) fn of_device(device: &Device<'_>) -> Option<Self> {
        let kind = sys::OrtDeviceMemoryType::OrtDeviceMemoryType_HOST_ACCESSIBLE;
        // SAFETY: `onnxruntime_c_api.h` documents this function (API 23; `ort` refuses libraries before 1.24). It reads the
        // device, which is borrowed, and returns a description that belongs to it, or null.
        let info = unsafe { (ort::api().EpDevice_MemoryInfo)(device.ptr(), kind) };
        NonNull::new(info.cast_mut()).map(|info| Self(Info::OfDevice(info)))
    }

    pub(super) fn ptr(&self) -> *const sys::OrtMemoryInfo {
        match &self.0 {
            Info::Owned(info) => info.ptr(),
            Info::OfDevice(info) => info.as_ptr(),
        }
    }

    /// The library's name of the memory.
    #[allow(unsafe_code, reason = "the crate's function needs its own type")]
    pub(in crate::nn) fn name(&self) -> String {
        let mut name = ptr::null();
        // SAFETY: the function reads the description, and writes a pointer to a text that ends with NUL and belongs to the
        // description. It is copied. The status is taken over once.
        unsafe {
            let status = (ort::api().MemoryInfoGetName)(self.ptr(), &mut name);
            match Error::result_from_status(status) {
                Ok(()) if !name.is_null() => CStr::from_ptr(name).to_string_lossy().into_owned(),
                _ => String::new(),
            }
        }
    }

    /// Returns true if the CPU can read and write this memory.
    #[allow(unsafe_code, reason = "the crate's function needs its own type")]
    fn is_of_host(&self) -> bool {
        let mut device = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_GPU;
        // SAFETY: both functions read the description; the first one writes one number.
        let kind = unsafe {
            (ort::api().MemoryInfoGetDeviceType)(self.ptr(), &mut device);
            (ort::api().MemoryInfoGetDeviceMemType)(self.ptr())
        };
        device == sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU
            || kind == sys::OrtDeviceMemoryType::OrtDeviceMemoryType_HOST_ACCESSIBLE
    }
}

/// A session's allocator of memory of the host.
pub(in crate::nn) struct HostMemory {
    /// Null never.
    allocator: NonNull<sys::OrtAllocator>,
    place: Place,
    /// Held while the allocator is used: not every allocator may be used by two threads at once.
    turn: Mutex<()>,
    /// The allocator is the session's, so the session is kept.
    _session: Arc<SharedSession>,
}

// SAFETY: the allocator may be used by any thread. This module uses it by one thread at a time (`turn`). The library uses it too,
// for outputs of runs that are bound to it, without `turn`; its runs are concurrent, so its allocators are safe for that.
#[allow(unsafe_code, reason = "buffers are freed by the threads that used them last")]
unsafe impl Send for HostMemory {}
// SAFETY: see above.
#[allow(unsafe_code, reason = "buffers are freed by the threads that used them last")]
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// The memory of a session at this place. `None` if the CPU cannot use it, or if the session has no allocator for it.
    #[allow(unsafe_code, reason = "the crate's allocator needs its own type of description")]
    pub(in crate::nn) fn new(session: &Arc<SharedSession>, place: Place) -> Option<Self> {
        if !place.is_of_host() {
            return None;
        }
        let mut allocator = ptr::null_mut();
        // SAFETY: the function reads the session and the description, which live during the call, and writes a handle, which
        // is released when `Self` is dropped. The status is taken over once.
        unsafe {
            let status = (ort::api().CreateAllocator)(session.session().ptr(), place.ptr(), &mut allocator);
            Error::result_from_status(status).ok()?;
        }
        let allocator = NonNull::new(allocator)?;
        Some(Self { allocator, place, turn: Mutex::default(), _session: Arc::clone(session) })
    }

    pub(in crate::nn) fn place(&self) -> &Place {
        &self.place
    }

    /// A block of zeros. May wait for the device.
    ///
    /// # Errors
    /// The library's own.
    #[allow(unsafe_code, reason = "the crate's blocks borrow their allocator")]
    pub(in crate::nn) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<HostMemoryBlock, Error> {
        let mut start = ptr::null_mut();
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the allocator lives as long as `self`, and `turn` is held. The function writes a pointer to `bytes` bytes,
        // which the CPU can use (`is_of_host`). The status is taken over once.
        unsafe {
            let status = (ort::api().AllocatorAlloc)(self.allocator.as_ptr(), bytes, &mut start);
            Error::result_from_status(status)?;
        }
        drop(turn);
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(|| Error::new("the library returned no memory"))?;
        // SAFETY: the block has `bytes` bytes, and nothing else knows it yet.
        unsafe { start.as_ptr().write_bytes(0, bytes) };
        Ok(HostMemoryBlock { start, bytes, memory: Arc::clone(self) })
    }
}

impl Drop for HostMemory {
    #[allow(unsafe_code, reason = "see `new`")]
    fn drop(&mut self) {
        // SAFETY: the handle is from `new` and is released once. No block is left, because each keeps `Self`.
        unsafe { (ort::api().ReleaseAllocator)(self.allocator.as_ptr()) };
    }
}

/// A block of memory. It keeps its allocator and so its session.
pub(in crate::nn) struct HostMemoryBlock {
    start: NonNull<u8>,
    bytes: usize,
    memory: Arc<HostMemory>,
}

// SAFETY: the block is owned like a `Box<[u8]>`: it can only be written through `&mut self`.
#[allow(unsafe_code, reason = "a block is filled on one thread, and read by the run on another one")]
unsafe impl Send for HostMemoryBlock {}
// SAFETY: see above.
#[allow(unsafe_code, reason = "a block is filled on one thread, and read by the run on another one")]
unsafe impl Sync for HostMemoryBlock {}

impl AsRef<[u8]> for HostMemoryBlock {
    #[allow(unsafe_code, reason = "see `HostMemory::allocate`")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the block has `bytes` bytes, all of which were written when it was made. It is freed when `self` is
        // dropped, and written through `&mut self` only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl AsMut<[u8]> for HostMemoryBlock {
    #[allow(unsafe_code, reason = "see `HostMemory::allocate`")]
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_ref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for HostMemoryBlock {
    #[allow(unsafe_code, reason = "see `HostMemory::allocate`")]
    fn drop(&mut self) {
        let _turn = self.memory.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the block is from this allocator, which lives because `self` keeps it, and is freed once. No run reads it:
        // a run borrows its inputs until it has ended. The status is taken over once; a block that cannot be freed is lost.
        let freed = unsafe {
            let status = (ort::api().AllocatorFree)(self.memory.allocator.as_ptr(), self.start.as_ptr().cast());
            Error::result_from_status(status)
        };
        if let Err(error) = freed {
            tracing::error!("a buffer of onnxruntime cannot be freed: {error}");
        }
    }
}
