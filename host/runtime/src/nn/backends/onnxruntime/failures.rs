//! Distinguishes errors of the device from errors of the model: only errors of the device say something about other
//! runs.

use ort::ErrorCode;
use plimsoll_onnx::FAILING_CHECK;

use crate::nn::device::Device;
use crate::nn::error::RunError;

/// Parts of the library's messages about a device without free memory.
const OUT_OF_MEMORY: [&str; 6] = [
    "out of memory",
    "Failed to allocate memory",
    "failed to allocate",
    "bad allocation",
    "bad_alloc",
    "_STATUS_ALLOC_FAILED",
];
/// Parts of the library's messages about a device that does not compute.
const DEVICE: [&str; 6] = ["CUDA failure", "CUDA error", "CUDNN failure", "CUDNN_STATUS", "CUBLAS", "cudaError"];

/// The error of a run on a device.
pub(super) fn run_error(device: &Device, code: ErrorCode, message: &str) -> RunError {
    if OUT_OF_MEMORY.iter().any(|part| message.contains(part)) {
        return RunError::OutOfMemory(reason(message).to_owned());
    }
    let is_device_code =
        matches!(code, ErrorCode::DeviceReset | ErrorCode::ExecutionProviderFailure | ErrorCode::EngineError);
    if *device != Device::Cpu && (is_device_code || DEVICE.iter().any(|part| message.contains(part))) {
        return RunError::Device(message.to_owned());
    }
    RunError::backend(reason(message))
}

/// The library's message without the part about its own code.
fn reason(message: &str) -> &str {
    // A check that `plimsoll_onnx` added: the name of its node says why the run fails.
    let check = message.split_once(FAILING_CHECK).and_then(|(_, rest)| rest.split_once("' Status Message"));
    if let Some((check, _)) = check {
        return check;
    }
    message.strip_prefix("Non-zero status code returned while running ").unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_device_are_told_apart_from_those_of_the_model() {
        let on = |device: Device, message: &str| run_error(&device, ErrorCode::GenericFailure, message);
        let cuda = |message: &str| on(Device::Cuda(0), message);
        let memory = "Non-zero status code returned while running Conv node. Name:'c' Status Message: CUDA failure 2: out \
                      of memory ; GPU=0";
        assert!(matches!(cuda(memory), RunError::OutOfMemory(text) if text.starts_with("Conv node")));
        let allocate = "Failed to allocate memory for requested buffer of size 17179869184";
        assert!(matches!(cuda(allocate), RunError::OutOfMemory(_)));
        assert!(matches!(on(Device::Cpu, allocate), RunError::OutOfMemory(_)));
        let lost = "CUDA failure 700: an illegal memory access was encountered ; GPU=0";
        assert!(matches!(cuda(lost), RunError::Device(_)));
        assert!(matches!(cuda("CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR"), RunError::Device(_)));
        let own = "Non-zero status code returned while running Gather node. Name:'g' Status Message: indices element out \
                   of data bounds, idx=9 must be within the inclusive range [-3,2]";
        for device in [Device::Cpu, Device::Cuda(0)] {
            assert!(matches!(on(device, own), RunError::Backend(text) if text.starts_with("Gather node")));
        }
        assert!(matches!(run_error(&Device::Cuda(0), ErrorCode::DeviceReset, "gone"), RunError::Device(_)));
    }
}
