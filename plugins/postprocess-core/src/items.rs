//! The reply of a postprocess step that gathers items (`items = true`): what is known of each item from before, and what this
//! plugin reads from its tensors.
//!
//! The context of an item is JSON whose member `item` is an object, as `crop-transform` makes it; other contexts count as
//! empty ones.

use plimsoll_sdk::gathered::{Gathered, ItemError};
use plimsoll_sdk::{Failure, NamedTensor, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Serialize)]
struct Answer<T> {
    #[serde(flatten)]
    size: Size,
    items: Vec<Entry<T>>,
}

#[derive(Serialize, Deserialize, Default)]
struct Size {
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

#[derive(Serialize)]
struct Entry<T> {
    #[serde(flatten)]
    known: Map<String, Value>,
    #[serde(flatten)]
    made: Made<T>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Made<T> {
    Answer(T),
    Failed { error: Error },
}

#[derive(Serialize)]
struct Error {
    step: String,
    outcome: String,
    message: String,
}

#[derive(Deserialize)]
struct ItemContext {
    item: Map<String, Value>,
}

/// The member `item` of a context.
pub fn known(context: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(context).map_or_else(|_| Map::new(), |context: ItemContext| context.item)
}

/// The reply `{"width":W,"height":H,"items":[…]}`. An item has the members that are known of it and those that `read` returns for
/// its tensors; or those that are known and `error`, if it failed. Width and height are those of the context of
/// `image-preprocess`, if there is one.
///
/// # Errors
/// If the step does not gather items, or `read` fails for an item.
pub fn reply<T: Serialize>(
    tensors: Vec<NamedTensor>,
    context: &[u8],
    read: impl Fn(&[NamedTensor]) -> Result<T, String>,
) -> Result<Reply, Failure> {
    let without = "configuration key `items`: this step does not gather items; set `gather = true` at the step";
    let gathered =
        Gathered::read(tensors, context).map_err(|error| Failure::Internal(format!("{without}: {error}")))?;
    let mut items = Vec::with_capacity(gathered.items.len());
    for (at, item) in gathered.items.into_iter().enumerate() {
        items.push(match item {
            Ok(item) => {
                let answer = read(&item.tensors).map_err(|error| Failure::Internal(format!("item {at}: {error}")))?;
                Entry { known: known(&item.context), made: Made::Answer(answer) }
            }
            Err(ItemError { step, outcome, message, context }) => {
                Entry { known: known(&context), made: Made::Failed { error: Error { step, outcome, message } } }
            }
        });
    }
    let size = serde_json::from_slice(&gathered.context).unwrap_or_default();
    let body = serde_json::to_vec(&Answer { size, items })
        .map_err(|error| Failure::Internal(format!("the reply cannot be serialised: {error}")))?;
    Ok(Reply { content_type: "application/json".into(), body })
}
