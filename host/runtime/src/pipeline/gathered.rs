//! The context of a step that gathers items. The tensors of item 3 are named `3/NAME`; the contexts of all items, and the
//! errors of those that failed, are written into one context. All numbers are u32, little-endian:
//!
//! 1. the context from before the items: its length and bytes;
//! 2. the number of items;
//! 3. for each item a byte: 0, then length and bytes of its context; or 1, then the step that failed, its outcome and the
//!    message, each as length and UTF-8, and length and bytes of the context with which the item was made.

use std::sync::Arc;

use crate::outcome::Outcome;
use crate::text::cut;

/// Why an item failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemError {
    /// The step that failed.
    pub(super) step: String,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// What the caller may read.
    pub(super) message: String,
    /// The context of the item as the step that made the items handed it on.
    pub(super) context: Arc<[u8]>,
}

/// Maximum bytes of a message. All items may fail with a long one.
const MAX_MESSAGE: usize = 500;

/// The message of an item that failed, cut off if it is long.
pub(super) fn message(text: String) -> String {
    match text.len() > MAX_MESSAGE {
        true => cut(text, MAX_MESSAGE) + "…",
        false => cut(text, MAX_MESSAGE),
    }
}

/// Writes the context of a gathering step.
pub(super) fn context<'a>(base: &[u8], items: &[Result<&'a [u8], &'a ItemError>]) -> Arc<[u8]> {
    let mut text = Vec::new();
    let add = |text: &mut Vec<u8>, bytes: &[u8]| {
        text.extend_from_slice(&length(bytes.len()));
        text.extend_from_slice(bytes);
    };
    add(&mut text, base);
    text.extend_from_slice(&length(items.len()));
    for item in items {
        match item {
            Ok(context) => {
                text.push(0);
                add(&mut text, context);
            }
            Err(ItemError { step, outcome, message, context }) => {
                text.push(1);
                add(&mut text, step.as_bytes());
                add(&mut text, outcome.as_str().as_bytes());
                add(&mut text, message.as_bytes());
                add(&mut text, context);
            }
        }
    }
    text.into()
}

/// A context is never longer than the limits of a stage allow, which are far below 4 GiB.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// The name of a tensor of an item.
pub(super) fn name(item: usize, name: &str) -> String {
    format!("{item}/{name}")
}

/// True for a name that a reader may take for that of a tensor of an item.
pub(super) fn is_of_item(name: &str) -> bool {
    name.split_once('/').is_some_and(|(number, _)| number.parse::<u128>().is_ok())
}
