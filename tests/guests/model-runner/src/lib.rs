//! A preprocess stage that runs the ONNX model in the body with the code of `infer-wasm`, so that ONNX's node tests run in
//! WebAssembly without a deployment for each model.
//!
//! The body: the length of the model (u32, little-endian like all numbers), the model, then for each input the length of
//! its name, its name, its type (0 f32, 1 u8, 2 i32, 3 i64), the number of dimensions, the dimensions, the number of
//! bytes, and the bytes. For a JPEG it returns an image of zeros. A model that is rejected gives `unsupported-media-type`.

#[path = "../../../../plugins/infer-wasm/src/check.rs"]
mod check;
#[path = "../../../../plugins/infer-wasm/src/convert.rs"]
mod convert;
#[path = "../../../../plugins/infer-wasm/src/engine.rs"]
mod engine;

use plimsoll_sdk::{
    Failure, NamedTensor, Prepared, Preprocess, Request, Tensor, TensorType, export_preprocess, tensor,
};

struct ModelRunner;

export_preprocess!(ModelRunner);

impl Preprocess for ModelRunner {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        // The sample of a deployment is a JPEG.
        if body.starts_with(&[0xFF, 0xD8]) {
            let image = tensor::from_f32(&[1, 1, 8, 8], &[0.0; 64]);
            return Ok(Prepared { tensors: vec![("image".into(), image)], context: Vec::new() });
        }
        let mut rest = body.as_slice();
        let model = take_bytes(&mut rest).to_vec();
        let mut inputs: Vec<NamedTensor> = Vec::new();
        while !rest.is_empty() {
            let name = String::from_utf8_lossy(take_bytes(&mut rest)).into_owned();
            let ty = match take_number(&mut rest) {
                0 => TensorType::Fp32,
                1 => TensorType::U8,
                2 => TensorType::I32,
                _ => TensorType::I64,
            };
            let dimensions: Vec<u32> = (0..take_number(&mut rest)).map(|_| take_number(&mut rest)).collect();
            inputs.push((name, Tensor::new(&dimensions, ty, take_bytes(&mut rest))));
        }
        let model =
            engine::load(model, |file| Err(format!("no file {file}"))).map_err(Failure::UnsupportedMediaType)?;
        let tensors = engine::infer(&model, &inputs)?;
        Ok(Prepared { tensors, context: Vec::new() })
    }
}

fn take_number(rest: &mut &[u8]) -> u32 {
    let (number, after) = rest.split_first_chunk().expect("a number");
    *rest = after;
    u32::from_le_bytes(*number)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = take_number(rest) as usize;
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    bytes
}
