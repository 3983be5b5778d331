//! Returns its inputs as outputs without copying them. With the query parameter `infer` it misbehaves in the middle of
//! the pipeline, when the request already has tensors; `tests/guests/README.md` describes the commands. The setting
//! `parameter` names another query parameter, so that one of several chips can misbehave.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, Tensor, config, export_infer, tensor};

struct Echo;

export_infer!(Echo);

impl Infer for Echo {
    fn run(request: Request, mut inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        // The setting costs a call of the host, which benchmarks of this guest would count.
        if request.parameters.is_empty() {
            return Ok(inputs);
        }
        let parameter = config::get("parameter").unwrap_or_else(|| "infer".to_owned());
        match request.parameters.iter().find(|(name, _)| *name == parameter).map(|(_, value)| value.as_str()) {
            None => Ok(inputs),
            Some("loop") => loop {
                black_box(0);
            },
            Some("panic") => panic!("infer panics as requested"),
            Some("grow") => {
                let mut blocks = Vec::new();
                loop {
                    blocks.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            Some("sleep") => {
                thread::sleep(Duration::from_secs(3));
                Ok(inputs)
            }
            Some("name") => {
                "other".clone_into(&mut inputs[0].0);
                Ok(inputs)
            }
            Some("shape") => {
                inputs[0].1 = tensor::from_f32(&[1], &[0.0]);
                Ok(inputs)
            }
            Some("short") => {
                let (shape, ty, mut data) = (inputs[0].1.dimensions(), inputs[0].1.ty(), inputs[0].1.data());
                data.pop();
                inputs[0].1 = Tensor::new(&shape, ty, &data);
                Ok(inputs)
            }
            Some("twice") => {
                let name = inputs[0].0.clone();
                inputs.push((name, tensor::from_f32(&[1], &[7.0])));
                Ok(inputs)
            }
            Some("drop") => {
                inputs.clear();
                Ok(inputs)
            }
            Some("blank") => Err(Failure::InvalidInput(" ".to_owned())),
            Some("control") => Err(Failure::InvalidInput("\u{1}".repeat(4_000))),
            Some("nan") => {
                inputs[0].1 = filled(&inputs[0].1, f32::NAN);
                Ok(inputs)
            }
            Some("infinite") => {
                inputs[0].1 = filled(&inputs[0].1, f32::INFINITY);
                Ok(inputs)
            }
            Some(other) => Err(Failure::InvalidInput(format!("unknown value of `{parameter}`: {other:?}"))),
        }
    }
}

/// A tensor of the same shape, with one number everywhere.
fn filled(like: &Tensor, number: f32) -> Tensor {
    let shape = like.dimensions();
    tensor::from_f32(&shape, &vec![number; shape.iter().product::<u32>() as usize])
}
