//! `Attention` (operator sets 23 and newer).

use rten_onnx::onnx::NodeProto;

use super::value::Value;
use crate::node::Attributes;

/// The sizes of an attention, from its inputs of 3 or 4 dimensions.
struct Sizes {
    batch: i64,
    heads: i64,
    key_heads: i64,
    queries: i64,
    /// All keys, with those of the past.
    keys: i64,
    key_width: i64,
    value_width: i64,
    /// True for inputs with an axis of heads.
    has_heads: bool,
}

impl Sizes {
    fn of(node: &NodeProto, inputs: &[&Value]) -> Option<Self> {
        let dims = |index: usize| inputs.get(index)?.dims.as_deref();
        // The past may be an empty one, of which nothing is known.
        let past = |at: usize| match node.input.get(4).filter(|name| !name.is_empty()) {
            Some(_) => dims(4)?.get(at).copied(),
            None => Some(0),
        };
        let given = |name: &str| node.int(name).filter(|&heads| heads > 0);
        Some(match (dims(0)?, dims(1)?, dims(2)?) {
            (&[batch, heads, queries, _], &[_, key_heads, keys, key_width], &[_, _, _, value_width]) => {
                let keys = keys.checked_add(past(2)?)?;
                Self { batch, heads, key_heads, queries, keys, key_width, value_width, has_heads: true }
            }
            (&[batch, queries, _], &[_, keys, key_width], &[_, _, value_width]) => {
                let (heads, key_heads) = (given("q_num_heads")?, given("kv_num_heads")?);
                let (key_width, value_width) = (key_width / key_heads, value_width / key_heads);
                let keys = keys.checked_add(past(2)?)?;
                Self { batch, heads, key_heads, queries, keys, key_width, value_width, has_heads: false }
            }
            _ => return None,
        })
    }
}

/// The scores: one for each query and key.
pub(super) fn scores(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<i64>> {
    let sizes = Sizes::of(node, inputs)?;
    Some(vec![sizes.batch, sizes.heads, sizes.queries, sizes.keys])
}

/// The result, all keys and values, and the scores.
pub(super) fn outputs(node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
    let all = || {
        let sizes = Sizes::of(node, inputs)?;
        let result = match sizes.has_heads {
            true => vec![sizes.batch, sizes.heads, sizes.queries, sizes.value_width],
            false => vec![sizes.batch, sizes.queries, sizes.heads.checked_mul(sizes.value_width)?],
        };
        let present = |width: i64| vec![sizes.batch, sizes.key_heads, sizes.keys, width];
        let scores = vec![sizes.batch, sizes.heads, sizes.queries, sizes.keys];
        Some([result, present(sizes.key_width), present(sizes.value_width), scores].map(Value::of_dims).to_vec())
    };
    all().unwrap_or_default()
}
