//! Replies with a description of its tensors: `{"tensors":[{"name","shape","bytes"}],"context_bytes"}`. With the query
//! parameter `post` it replies with the elements of the tensors (`data`: `{"data":[[…]],"context":…}`) or with the
//! bytes of the first tensor (`carry`), or misbehaves at the end of the pipeline: `big` (a reply of `bytes` bytes),
//! `panic` (traps). With the setting `refuses` it fails always.

use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, TensorType, config, export_postprocess, tensor};
use serde_json::{Value, json};

struct Echo;

export_postprocess!(Echo);

impl Postprocess for Echo {
    fn run(request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        if config::get("refuses").is_some() {
            return Err(Failure::InvalidInput("the configuration refuses it".into()));
        }
        match parameter(&request, "post") {
            None => {}
            Some("data") => {
                let numbers = outputs.iter().map(|(_, tensor)| match tensor.ty() {
                    TensorType::Fp32 => tensor::to_f32(tensor).map(|data| json!(data)),
                    _ => tensor::to_u8(tensor).map(|data| json!(data)),
                });
                let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(Failure::Internal)?;
                let context: Value = serde_json::from_slice(&context).unwrap_or_default();
                let body = json!({ "data": numbers, "context": context }).to_string().into_bytes();
                return Ok(Reply { content_type: "application/json".into(), body });
            }
            Some("carry") => {
                let body = outputs.first().map(|(_, tensor)| tensor.data()).unwrap_or_default();
                return Ok(Reply { content_type: "application/octet-stream".into(), body });
            }
            Some("panic") => panic!("postprocess panics as requested"),
            Some("big") => {
                let bytes = parameter(&request, "bytes").and_then(|text| text.parse().ok());
                let bytes = bytes.ok_or_else(|| Failure::InvalidInput("parameter `bytes` must be a number".into()))?;
                return Ok(Reply { content_type: "application/octet-stream".into(), body: vec![b'x'; bytes] });
            }
            Some(other) => return Err(Failure::InvalidInput(format!("unknown value of `post`: {other:?}"))),
        }
        let describe = |(name, tensor): &NamedTensor| -> Value {
            json!({ "name": name, "shape": tensor.dimensions(), "bytes": tensor.data().len() })
        };
        let tensors: Vec<_> = outputs.iter().map(describe).collect();
        let body = json!({ "tensors": tensors, "context_bytes": context.len() }).to_string().into_bytes();
        Ok(Reply { content_type: "application/json".into(), body })
    }
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
