//! Replies with the items that it gathers: `{"context":"…","items":[{"context":…,"tensors":{"NAME":{"shape","data"}}} or
//! {"error":{"step","outcome","message"},"context"}],"others":{…}}`. The data of f32 and u8 tensors are numbers, of others their bytes.

use plimsoll_sdk::gathered::{Gathered, Item, ItemError};
use plimsoll_sdk::{Failure, NamedTensor, Postprocess, Reply, Request, TensorType, export_postprocess, tensor};
use serde_json::{Map, Value, json};

struct Gather;

export_postprocess!(Gather);

impl Postprocess for Gather {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let Gathered { context, items, others } = Gathered::read(outputs, &context).map_err(Failure::Internal)?;
        let items: Vec<Value> = items
            .into_iter()
            .map(|item| match item {
                Ok(Item { tensors, context }) => json!({ "context": text(&context), "tensors": described(&tensors) }),
                Err(ItemError { step, outcome, message, context }) => {
                    let error = json!({ "step": step, "outcome": outcome, "message": message });
                    json!({ "error": error, "context": text(&context) })
                }
            })
            .collect();
        let body = json!({ "context": text(&context), "items": items, "others": described(&others) });
        Ok(Reply { content_type: "application/json".into(), body: body.to_string().into_bytes() })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn described(tensors: &[NamedTensor]) -> Map<String, Value> {
    let describe = |(name, given): &NamedTensor| {
        let data = match given.ty() {
            TensorType::Fp32 => json!(tensor::to_f32(given).unwrap_or_default()),
            _ => json!(given.data()),
        };
        (name.clone(), json!({ "shape": given.dimensions(), "data": data }))
    };
    tensors.iter().map(describe).collect()
}
