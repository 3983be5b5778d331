//! The preprocess stage `{{name}}`: the bytes of the body become the tensor `image`, f32 from 0 to 1.
//!
//! Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`; the body must fill it.
//! Without it the tensor is one row, as long as the body.

mod compute;

use std::sync::OnceLock;

use plimsoll_sdk::{
    Failure, Init, Prepared, Preprocess, Request, config, export_preprocess, tensor,
};

struct Stage;

export_preprocess!(Stage with init);

/// What `init` leaves for every request: the configured shape, if there is one.
static SHAPE: OnceLock<Option<Vec<u32>>> = OnceLock::new();

impl Init for Stage {
    /// Runs once when the plugin is deployed, so the place to refuse a wrong configuration.
    fn init() -> Result<(), String> {
        config::only(&["shape"])?;
        let shape: Option<Vec<u32>> = config::list("shape")?;
        if shape.as_ref().is_some_and(|sizes| sizes.contains(&0)) {
            return Err("configuration key `shape`: a dimension of size 0 holds nothing".into());
        }
        SHAPE
            .set(shape)
            .map_err(|_| "the plugin is initialised already".into())
    }
}

impl Preprocess for Stage {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let configured = SHAPE
            .get()
            .ok_or_else(|| Failure::Internal("`init` was not called".into()))?;
        let shape = compute::shape(configured.as_deref(), body.len())?;
        let image = tensor::from_f32(&shape, &compute::scaled(&body));
        // The context reaches postprocessing unchanged; the size of an original image would go there.
        Ok(Prepared {
            tensors: vec![("image".into(), image)],
            context: Vec::new(),
        })
    }
}
