//! The postprocess stage `{{name}}`: the reply is the model's outputs, tensors of f32, as JSON.
//!
//! Reply: `{"outputs":[{"name":"logits","shape":[1,3],"values":[0.5,-1.0,2.25]}, …]}`.

mod compute;

use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, export_postprocess, tensor};

use compute::Output;

struct Stage;

export_postprocess!(Stage);

impl Postprocess for Stage {
    fn run(
        _request: Request,
        outputs: Vec<NamedTensor>,
        _context: Vec<u8>,
    ) -> Result<Reply, Failure> {
        let outputs: Result<Vec<_>, _> = outputs.into_iter().map(read).collect();
        // Whatever is wrong here is wrong with the model or this plugin, never with the caller's request.
        let body = outputs.and_then(compute::json).map_err(Failure::Internal)?;
        Ok(Reply {
            content_type: "application/json".into(),
            body,
        })
    }
}

fn read((name, tensor): NamedTensor) -> Result<Output, String> {
    let values = tensor::to_f32(&tensor).map_err(|error| format!("output `{name}`: {error}"))?;
    Ok(Output {
        name,
        shape: tensor.dimensions(),
        values,
    })
}
