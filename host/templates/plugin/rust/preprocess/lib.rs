//! The preprocess stage `{{name}}`: converts the bytes of the body into the tensor `image` of f32 values from 0 to 1.
//!
//! Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`. The body must have one
//! byte per element. Without `shape`, the tensor is one row with all bytes of the body.

mod compute;

use plimsoll_sdk::{
    Configured, Failure, Init, Prepared, Preprocess, Request, config, export_preprocess, tensor,
};

struct Stage;

export_preprocess!(Stage with init);

/// The configured shape, if any: read once by `init`, used by every request.
static SHAPE: Configured<Option<Vec<u32>>> = Configured::new();

impl Init for Stage {
    /// Runs once when the plugin is deployed. An error here rejects an invalid configuration before any request.
    fn init() -> Result<(), String> {
        config::only(&["shape"])?;
        let shape: Option<Vec<u32>> = config::list("shape")?;
        if shape.as_ref().is_some_and(|sizes| sizes.contains(&0)) {
            return Err("configuration key `shape`: a dimension must not be 0".into());
        }
        SHAPE.set(shape)
    }
}

impl Preprocess for Stage {
    fn run(_request: Request, body: Vec<u8>) -> Result<Prepared, Failure> {
        let configured = SHAPE.get()?;
        let shape = compute::shape(configured.as_deref(), body.len())?;
        let image = tensor::from_f32(&shape, &compute::scaled(&body));
        // The context is passed to postprocessing unchanged. Example: the size of the original image.
        Ok(Prepared {
            tensors: vec![("image".into(), image)],
            context: Vec::new(),
        })
    }
}
