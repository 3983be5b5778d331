//! Returns the tensors and the context in the body, so that tests choose what a postprocess plugin gets. The body is the
//! length of a JSON text as u32 (little-endian), the text
//! `{"tensors":[{"name":"scores","type":"fp32","shape":[1,2]}],"context":{}}`, and the bytes of all tensors.

use plimsoll_sdk::{Failure, Prepared, Preprocess, Request, Tensor, TensorType, export_preprocess};
use serde_json::Value;

struct Given;

export_preprocess!(Given);

impl Preprocess for Given {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        read(&body).ok_or_else(|| Failure::InvalidInput("the body has no tensors".into()))
    }
}

fn read(body: &[u8]) -> Option<Prepared> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let (text, mut data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let text: Value = serde_json::from_slice(text).ok()?;
    let mut tensors = Vec::new();
    for tensor in text["tensors"].as_array()? {
        let sizes = tensor["shape"].as_array()?.iter().map(|size| size.as_u64().and_then(|size| size.try_into().ok()));
        let shape: Vec<u32> = sizes.collect::<Option<_>>()?;
        let (element, bytes) = match tensor["type"].as_str()? {
            "fp16" => (TensorType::Fp16, 2),
            "fp32" => (TensorType::Fp32, 4),
            "fp64" => (TensorType::Fp64, 8),
            "bf16" => (TensorType::Bf16, 2),
            "u8" => (TensorType::U8, 1),
            "i32" => (TensorType::I32, 4),
            "i64" => (TensorType::I64, 8),
            _ => return None,
        };
        let (elements, rest) = data.split_at_checked(shape.iter().product::<u32>() as usize * bytes)?;
        data = rest;
        tensors.push((tensor["name"].as_str()?.to_owned(), Tensor::new(&shape, element, elements)));
    }
    let context = text["context"].to_string().into_bytes();
    data.is_empty().then_some(Prepared { tensors, context })
}
