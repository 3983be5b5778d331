//! What steps hand on: tensors and a context, or items.

use std::sync::Arc;

use crate::tensor::Tensors;

/// Tensors and a context. A clone shares their bytes.
#[derive(Clone)]
pub struct Bundle {
    /// The tensors with their names.
    pub tensors: Tensors,
    /// The context.
    pub context: Arc<[u8]>,
}

/// The answer of a transform stage.
pub enum Handed {
    /// The following steps run once.
    One(Bundle),
    /// The following steps run once for each item.
    Items(Vec<Bundle>),
}

impl Handed {
    /// The bytes of all contexts.
    pub(super) fn context_bytes(&self) -> usize {
        match self {
            Self::One(bundle) => bundle.context.len(),
            Self::Items(items) => items.iter().map(|item| item.context.len()).sum(),
        }
    }
}
