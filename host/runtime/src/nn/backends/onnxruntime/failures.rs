//! Distinguishes errors of the device from errors of the model: only errors of the device say something about other
//! runs.
//!
//! The library has few codes for errors of devices; most of them are texts. These are parts of the texts in the sources of
//! ONNX Runtime (`onnxruntime/core/providers/…`) and of the libraries that its providers call:
//!
//! - `cuda/cuda_call.cc`: `CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; …`, and the same for cuDNN and
//!   cuBLAS. `tensorrt/tensorrt_execution_provider.cc`: `TensorRT EP execution context enqueue failed.`
//! - `migraphx/migraphx_call.cc`: `HIP failure 2: out of memory ; GPU=0 ; …`; the provider `rocm` also has MIOpen and rocBLAS.
//! - `qnn/builder/qnn_model.cc`: `QNN graph execute error. Error code: 1003`; a crash of the NPU has the code `EngineError`.
//! - `cann/cann_call.cc`: `CANN failure 507011: (look for ACL_ERROR_xxx in acl.h) ; NPU=0 ; …`. The codes of ACL tell whose
//!   error it is: those from 507000 on and of the driver are the device's, 207001 and `BAD_ALLOC` are its memory, and others
//!   (shapes, operators, parameters) are the model's.
//! - OpenVINO, `src/plugins/intel_gpu/src/runtime/`: `[GPU] out of GPU resources`, `[GPU] Exceeded max size of memory object
//!   allocation: …` (`engine.cpp`), `[GPU] clFlush, error code: -5 CL_OUT_OF_RESOURCES` (`ocl/ocl_common.hpp`, which says that it is
//!   a lack of memory, or a lost device). `src/plugins/intel_npu/`: `L0 zeFenceHostSynchronize result:
//!   ZE_RESULT_ERROR_DEVICE_LOST, code 0x70000001 - device hung, reset, was removed, or driver update occurred`.

use ort::ErrorCode;
use plimsoll_onnx::FAILING_CHECK;

use crate::nn::device::Device;
use crate::nn::error::RunError;

/// Parts of the library's messages about a device without free memory.
const OUT_OF_MEMORY: [&str; 14] = [
    "out of memory",
    "CANN failure 207001",
    "ACL_ERROR_BAD_ALLOC",
    "[GPU] out of GPU resources",
    "[GPU] Exceeded max size of memory object allocation",
    "CL_OUT_OF_RESOURCES",
    "CL_OUT_OF_HOST_MEMORY",
    "CL_MEM_OBJECT_ALLOCATION_FAILURE",
    "ZE_RESULT_ERROR_OUT_OF_",
    "Failed to allocate memory",
    "failed to allocate",
    "bad allocation",
    "bad_alloc",
    "_STATUS_ALLOC_FAILED",
];
/// Parts of the library's messages about a device that does not compute.
const DEVICE: [&str; 17] = [
    "CUDA failure",
    "CUDA error",
    "CUDNN failure",
    "CUDNN_STATUS",
    "CUBLAS",
    "cudaError",
    "TensorRT EP execution context enqueue failed",
    "HIP failure",
    "MIOPEN failure",
    "ROCBLAS failure",
    "QNN graph execute error",
    "CANN failure 507",
    "ACL_ERROR_RT_FAILURE",
    "ACL_ERROR_DRV_FAILURE",
    "ACL_ERROR_INVALID_DEVICE",
    "ZE_RESULT_ERROR_DEVICE_LOST",
    "ZE_RESULT_ERROR_UNKNOWN",
];

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
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::nn::chip::Chip;

    /// Messages as users of the providers reported them, or as the sources write them.
    #[test]
    fn the_devices_of_each_provider_are_recognised() {
        let on = |provider: &str, message: &str| {
            let (name, provider) = ("b".to_owned(), provider.to_owned());
            let chip = Chip { name, provider, library: None, device: None, options: BTreeMap::new() };
            let whole =
                format!("Non-zero status code returned while running X node. Name:'x' Status Message: {message}");
            match run_error(&Device::Chip(Arc::new(chip)), ErrorCode::GenericFailure, &whole) {
                RunError::OutOfMemory(_) => "memory",
                RunError::Device(_) => "device",
                RunError::Backend(_) => "model",
                other => panic!("{other}"),
            }
        };
        let openvino = "Wait Model Failed: Exception from src/inference/src/cpp/infer_request.cpp:245:\nException from \
                        src/plugins/intel_gpu/src/runtime/ocl/ocl_engine.cpp:185:\n";
        for (provider, message, expected) in [
            (
                "migraphx",
                "HIP failure 719: unspecified launch failure ; GPU=0 ; hostname=h ; file=f ; line=1",
                "device",
            ),
            ("migraphx", "HIP failure 2: out of memory ; GPU=0 ; hostname=h ; file=f ; line=1", "memory"),
            ("rocm", "MIOPEN failure 7: miopenStatusUnknownError ; GPU=0", "device"),
            ("tensorrt", "TensorRT EP execution context enqueue failed.", "device"),
            ("qnn", "QNN graph execute error. Error code: 1003", "device"),
            ("cann", "CANN failure 507011: (look for ACL_ERROR_xxx in acl.h) ; NPU=0 ; hostname=h ; expr=e;", "device"),
            ("cann", "CANN failure 500004: ACL_ERROR_DRV_FAILURE ; NPU=0 ; hostname=h ; expr=e;", "device"),
            ("cann", "CANN failure 207001: (look for ACL_ERROR_xxx in acl.h) ; NPU=0 ; hostname=h ; expr=e;", "memory"),
            ("cann", "CANN failure 100014: ACL_ERROR_MODEL_INPUT_NOT_MATCH ; NPU=0 ; hostname=h ; expr=e;", "model"),
            ("openvino", &format!("{openvino}[GPU] out of GPU resources"), "memory"),
            ("openvino", "[GPU] clFlush, error code: -5 CL_OUT_OF_RESOURCES", "memory"),
            ("openvino", "[GPU] Exceeded max size of memory object allocation: requested 25600122880 bytes", "memory"),
            ("openvino", "L0 zeFenceHostSynchronize result: ZE_RESULT_ERROR_DEVICE_LOST, code 0x70000001", "device"),
            ("openvino", "L0 zeMemAllocDevice result: ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, code 0x70000003", "memory"),
            ("openvino", "Can't get data for input x", "model"),
        ] {
            assert_eq!(on(provider, message), expected, "{provider}: {message}");
        }
    }

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
