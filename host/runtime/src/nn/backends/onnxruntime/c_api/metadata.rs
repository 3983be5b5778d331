//! What the library and its plugins know about a device besides its kind and vendor, for example its memory.

use std::collections::BTreeMap;

use ort::AsPointer;
use ort::device::Device;

use super::pairs::copied;

/// The metadata of the hardware, and those of the provider, which take precedence.
#[allow(unsafe_code, reason = "no safe function tells what the library knows about a device")]
pub(in crate::nn) fn metadata(device: &Device<'_>) -> BTreeMap<String, String> {
    let api = ort::api();
    let hardware = device.hardware_device();
    // SAFETY: `onnxruntime_c_api.h` documents these functions (API 22; `ort` refuses libraries before 1.24). They only read
    // the device, which belongs to the environment and is borrowed, and return a list that belongs to the device, or null.
    let (of_hardware, of_provider) = unsafe {
        (copied((api.HardwareDevice_Metadata)(hardware.ptr())), copied((api.EpDevice_EpMetadata)(device.ptr())))
    };
    of_hardware.into_iter().chain(of_provider).flatten().collect()
}
