//! The items that a step with `gather = true` gets.
//!
//! The host names the tensors of item 3 `3/NAME` and writes the contexts of all items into one context. [`Gathered::read`]
//! takes both apart. `host/docs/pipelines.md` describes the form, for plugins in other languages.

use crate::NamedTensor;

/// What a gathering step gets.
pub struct Gathered {
    /// The context from before the items.
    pub context: Vec<u8>,
    /// The items in their order. With `partial = true`, an item may have failed.
    pub items: Vec<Result<Item, ItemError>>,
    /// The tensors that are not of an item, from steps that run once.
    pub others: Vec<NamedTensor>,
}

/// An item.
pub struct Item {
    /// Its tensors, with their names in the item.
    pub tensors: Vec<NamedTensor>,
    /// Its context.
    pub context: Vec<u8>,
}

/// Why an item failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    /// The step that failed.
    pub step: String,
    /// How it ended, for example `trap`.
    pub outcome: String,
    /// The message for the caller.
    pub message: String,
    /// The context of the item as the step that made the items handed it on.
    pub context: Vec<u8>,
}

impl Gathered {
    /// Takes apart the tensors and the context of a gathering step.
    ///
    /// # Errors
    /// If the context is not one of gathered items: the step does not have `gather = true`.
    pub fn read(tensors: Vec<NamedTensor>, context: &[u8]) -> Result<Self, String> {
        let mut rest = context;
        let parsed = parse(&mut rest).filter(|_| rest.is_empty());
        let (context, mut items) = parsed.ok_or("the context has no items: does the step have `gather = true`?")?;
        let mut others = Vec::new();
        for (name, tensor) in tensors {
            let position = name.split_once('/').and_then(|(number, name)| Some((item_number(number)?, name)));
            match position.and_then(|(at, name): (usize, _)| Some((items.get_mut(at)?.as_mut().ok()?, name))) {
                Some((item, name)) => item.tensors.push((name.to_owned(), tensor)),
                None => others.push((name, tensor)),
            }
        }
        Ok(Self { context, items, others })
    }
}

/// The number of an item, as the host writes it: without a sign and leading zeros.
fn item_number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

type Parsed = (Vec<u8>, Vec<Result<Item, ItemError>>);

fn parse(rest: &mut &[u8]) -> Option<Parsed> {
    let context = bytes(rest)?.to_vec();
    let count = number(rest)?;
    let mut items = Vec::new();
    for _ in 0..count {
        let (kind, after) = rest.split_first()?;
        *rest = after;
        items.push(match kind {
            0 => Ok(Item { tensors: Vec::new(), context: bytes(rest)?.to_vec() }),
            1 => Err(ItemError {
                step: text(rest)?,
                outcome: text(rest)?,
                message: text(rest)?,
                context: bytes(rest)?.to_vec(),
            }),
            _ => return None,
        });
    }
    Some((context, items))
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(bytes(rest)?.to_vec()).ok()
}
