//! The postprocess stage `{{name}}`: returns the model's outputs, which must be f32 tensors, as JSON.
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
        // An error here is a fault of the model or of this plugin, never of the caller's request.
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
