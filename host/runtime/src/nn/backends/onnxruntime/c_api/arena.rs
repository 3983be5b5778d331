//! The memory that a session holds: statistics of ONNX Runtime's allocators (API 23).

use std::collections::BTreeMap;
use std::ptr;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::{AsPointer, Error, sys};

use super::pairs::copied;
use crate::nn::memory::ArenaSizes;

/// The statistic with the bytes that an arena has taken from its device.
const TOTAL: &str = "TotalAllocated";

/// The memory of a session in the arena of the CPU, and in those of other devices. `cuda` is the number of its GPU, if
/// its provider is CUDA; other devices are found by the inputs and outputs.
pub(in crate::nn) fn arenas(session: &Session, cuda: Option<i32>) -> ArenaSizes {
    let cpu = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default);
    let host = cpu.ok().and_then(|cpu| total(session, cpu.ptr()));
    let gpu = cuda.map(|gpu| MemoryInfo::new(AllocationDevice::CUDA, gpu, AllocatorType::Device, MemoryType::Default));
    let gpu = gpu.and_then(Result::ok);
    let mut places: Vec<*const sys::OrtMemoryInfo> = gpu.iter().map(AsPointer::ptr).collect();
    for place in places_of_values(session) {
        if places.iter().all(|&known| !is_same(known, place)) {
            places.push(place);
        }
    }
    let device = places.into_iter().filter_map(|place| total(session, place)).reduce(u64::saturating_add);
    ArenaSizes { host, device }
}

/// Where the inputs and outputs of a session are, without the memory of the CPU.
#[allow(unsafe_code, reason = "no safe function tells the memory that a model needs")]
fn places_of_values(session: &Session) -> Vec<*const sys::OrtMemoryInfo> {
    let api = ort::api();
    let mut places = vec![ptr::null(); session.inputs().len()];
    let mut of_outputs = vec![ptr::null(); session.outputs().len()];
    // SAFETY: `onnxruntime_c_api.h` documents these functions. They only read the session, which is borrowed, and write
    // one pointer for each input (output) to the given places, of which there are as many. What is written belongs to
    // the session. A status is taken over once. `MemoryInfoGetDeviceType` reads what it is given and writes one number.
    unsafe {
        let of_inputs = (api.SessionGetMemoryInfoForInputs)(session.ptr(), places.as_mut_ptr(), places.len());
        let is_known = Error::result_from_status(of_inputs).is_ok();
        let status = (api.SessionGetMemoryInfoForOutputs)(session.ptr(), of_outputs.as_mut_ptr(), of_outputs.len());
        if Error::result_from_status(status).is_err() || !is_known {
            return Vec::new();
        }
        places.append(&mut of_outputs);
        places.retain(|place| !place.is_null());
        places.retain(|&place| {
            let mut ty = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU;
            (api.MemoryInfoGetDeviceType)(place, &mut ty);
            ty != sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU
        });
    }
    places
}

#[allow(unsafe_code, reason = "see `places_of_values`")]
fn is_same(one: *const sys::OrtMemoryInfo, other: *const sys::OrtMemoryInfo) -> bool {
    let mut difference = 1;
    // SAFETY: both point to descriptions that live as long as the session or its owner in `arenas`; the function reads
    // them and writes one number. The status is taken over once.
    let status = unsafe { Error::result_from_status((ort::api().CompareMemoryInfo)(one, other, &mut difference)) };
    status.is_ok() && difference == 0
}

/// The bytes that the session's allocator for this memory has taken. `None` if there is no such allocator, or it has no
/// statistics.
#[allow(unsafe_code, reason = "see `places_of_values`")]
fn total(session: &Session, place: *const sys::OrtMemoryInfo) -> Option<u64> {
    let api = ort::api();
    let mut allocator = ptr::null_mut();
    let mut pairs = ptr::null_mut();
    // SAFETY: `onnxruntime_c_api.h` documents these functions. `place` describes memory and lives during this call.
    // `CreateAllocator` writes a handle of the session's own allocator, which is released below, before the borrow of
    // the session ends. `AllocatorGetStats` (API 23; `ort` refuses libraries before 1.24) takes the allocator's lock,
    // so it may be called during runs, and writes a list that belongs to the caller and is released below, after its
    // texts were copied. Each status is taken over once.
    unsafe {
        Error::result_from_status((api.CreateAllocator)(session.ptr(), place, &mut allocator)).ok()?;
        let status = (api.AllocatorGetStats)(allocator, &mut pairs);
        let statistics = Error::result_from_status(status).ok().and_then(|()| copied(pairs));
        if !pairs.is_null() {
            (api.ReleaseKeyValuePairs)(pairs);
        }
        (api.ReleaseAllocator)(allocator);
        total_of(&statistics?)
    }
}

/// An allocator without statistics has no pairs, and one that is not an arena may have others.
fn total_of(statistics: &BTreeMap<String, String>) -> Option<u64> {
    statistics.get(TOTAL)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocator_without_statistics_has_no_figure() {
        let statistics = |pairs: &[(&str, &str)]| {
            total_of(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(statistics(&[("Limit", "-1"), ("InUse", "7"), ("TotalAllocated", "42008576")]), Some(42_008_576));
        for without in [&[][..], &[("InUse", "7")], &[("TotalAllocated", "-1")], &[("TotalAllocated", "")]] {
            assert_eq!(statistics(without), None, "{without:?}");
        }
    }
}
