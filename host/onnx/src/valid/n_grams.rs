//! `TfIdfVectorizer`: its lists fit each other. onnxruntime would end the process for a list of indexes that is too short, and
//! would not end for hours with a large number of elements to skip.

use rten_onnx::onnx::NodeProto;

use crate::node::{self, Attributes};
use crate::rejected::Rejected;

/// The most elements that an n-gram may skip.
const MOST_SKIPPED: i64 = 65_535;

/// Checks the attributes of a node.
pub(super) fn check(node: &NodeProto) -> Result<(), Rejected> {
    if node.op_type.as_deref() != Some("TfIdfVectorizer") || !node::is_standard(node.domain.as_deref()) {
        return Ok(());
    }
    let invalid = |why: String| {
        let name = node::title(node);
        Err(Rejected::model(format!("node `{name}` (TfIdfVectorizer): {why}: export the model again")))
    };
    if let Some(skipped) = node.int("max_skip_count").filter(|&count| count > MOST_SKIPPED) {
        return invalid(format!("`max_skip_count` is {skipped}, which is more than {MOST_SKIPPED}"));
    }
    let Some(starts) = node.ints("ngram_counts").filter(|starts| !starts.is_empty()) else { return Ok(()) };
    let texts = node.attribute("pool_strings").map_or(0, |pool| pool.strings.len());
    let pool = node.ints("pool_int64s").map_or(0, <[i64]>::len).max(texts) as i64;
    let indexes = node.ints("ngram_indexes").unwrap_or_default().len() as i64;
    // The n-grams of n elements are in the pool from the nth start to the next one.
    let mut expected = 0;
    for (n, &start) in (1..).zip(starts) {
        let end = starts.get(n as usize).copied().unwrap_or(pool);
        if start < 0 || end < start || end > pool || (end - start) % n != 0 {
            return invalid(format!("`ngram_counts` {starts:?} does not fit a pool of {pool} elements"));
        }
        expected += (end - start) / n;
    }
    if indexes != expected {
        return invalid(format!("`ngram_indexes` has {indexes} numbers for {expected} n-grams"));
    }
    Ok(())
}
