//! Lists of names and values of the library.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::sys;

/// A copy of a list of names and values.
///
/// # Safety
/// `pairs` is null, or points to a list of the library that lives during the call.
#[allow(unsafe_code, reason = "the crate has no type for such a list")]
pub(super) unsafe fn copied(pairs: *const sys::OrtKeyValuePairs) -> Option<BTreeMap<String, String>> {
    if pairs.is_null() {
        return None;
    }
    let (mut names, mut values, mut count): (*const *const c_char, *const *const c_char, usize) =
        (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller guarantees that the list lives. The function writes two arrays of `count` texts that end with
    // NUL and belong to the list; they are copied.
    unsafe {
        (ort::api().GetKeyValuePairs)(pairs, &mut names, &mut values, &mut count);
        let text =
            |texts: *const *const c_char, at: usize| CStr::from_ptr(*texts.add(at)).to_string_lossy().into_owned();
        Some((0..count).map(|at| (text(names, at), text(values, at))).collect())
    }
}
