//! Returns its inputs as outputs without copying them. With the query parameter `infer` it misbehaves in the middle of
//! the pipeline, when the request already has tensors: `loop` (never returns), `panic` (traps), `grow` (allocates
//! memory without end).

use std::hint::black_box;

use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, export_infer};

struct Echo;

export_infer!(Echo);

impl Infer for Echo {
    fn run(request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        match request.parameters.iter().find(|(name, _)| name == "infer").map(|(_, value)| value.as_str()) {
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
            Some(other) => Err(Failure::InvalidInput(format!("unknown value of `infer`: {other:?}"))),
        }
    }
}
