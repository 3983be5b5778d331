//! The traits that a plugin implements, one for each kind of stage, and the macros that export them.

use crate::{Failure, NamedTensor, Prepared, Reply, Request};

/// A stage that turns the body of a request into the tensors of a model.
pub trait Preprocess {
    /// Takes the request and its body as it came over HTTP; gives the model's inputs by name and a
    /// context that reaches postprocessing unchanged.
    ///
    /// # Errors
    /// The [`Failure`] that says whose fault it is: it decides the status of the reply.
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure>;
}

/// A stage that runs a model on one kind of chip.
pub trait Infer {
    /// Takes the tensors of preprocessing; gives the tensors of the model's outputs by name.
    ///
    /// # Errors
    /// The [`Failure`] that says whose fault it is.
    fn run(request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure>;
}

/// A stage that turns the tensors of a model into the reply.
pub trait Postprocess {
    /// Takes the tensors of inference and the context of preprocessing; gives the caller's reply.
    ///
    /// # Errors
    /// The [`Failure`] that says whose fault it is.
    fn run(request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure>;
}

/// What a plugin prepares once per deployment: every instance starts from the memory that it leaves.
pub trait Init {
    /// Reads weights, builds tables, checks the configuration. It must not keep handles (open streams,
    /// tensors) in statics: they belong to the instance that made them.
    ///
    /// What it allocates and frees again is free heap in the snapshot. An instance that finds enough of it need not grow
    /// its memory, which costs the host two calls of the kernel for each request.
    ///
    /// # Errors
    /// The text is shown to the person who deploys, and the plugin is refused.
    fn init() -> Result<(), String>;
}

/// Exports a type as the stage `preprocess`: `export_preprocess!(Type);`, or
/// `export_preprocess!(Type with init);` where the type implements [`Init`] too.
#[macro_export]
macro_rules! export_preprocess {
    ($type:ident) => {
        const _: () = {
            struct Plugin;
            impl $crate::bindings::preprocessor::exports::plimsoll::stage::preprocess::Guest for Plugin {
                fn run(request: $crate::Request, body: Vec<u8>) -> Result<$crate::Prepared, $crate::Failure> {
                    <$type as $crate::Preprocess>::run(request, body)
                }
            }
    $crate::bindings::preprocessor::export_preprocessor!(Plugin with_types_in $crate::bindings::preprocessor);
        };
    };
    ($type:ident with init) => {
        $crate::export_preprocess!($type);
        $crate::export_init!($type);
    };
}

/// Exports a type as the stage `infer`: `export_infer!(Type);` or `export_infer!(Type with init);`.
#[macro_export]
macro_rules! export_infer {
    ($type:ident) => {
        const _: () = {
            struct Plugin;
            impl $crate::bindings::inferencer::exports::plimsoll::stage::infer::Guest for Plugin {
                fn run(
                    request: $crate::Request,
                    inputs: Vec<$crate::NamedTensor>,
                ) -> Result<Vec<$crate::NamedTensor>, $crate::Failure> {
                    <$type as $crate::Infer>::run(request, inputs)
                }
            }
    $crate::bindings::inferencer::export_inferencer!(Plugin with_types_in $crate::bindings::inferencer);
        };
    };
    ($type:ident with init) => {
        $crate::export_infer!($type);
        $crate::export_init!($type);
    };
}

/// Exports a type as the stage `postprocess`: `export_postprocess!(Type);` or
/// `export_postprocess!(Type with init);`.
#[macro_export]
macro_rules! export_postprocess {
    ($type:ident) => {
        const _: () = {
            struct Plugin;
            impl $crate::bindings::postprocessor::exports::plimsoll::stage::postprocess::Guest for Plugin {
                fn run(
                    request: $crate::Request,
                    outputs: Vec<$crate::NamedTensor>,
                    context: Vec<u8>,
                ) -> Result<$crate::Reply, $crate::Failure> {
                    <$type as $crate::Postprocess>::run(request, outputs, context)
                }
            }
            $crate::bindings::postprocessor::export_postprocessor!(
                Plugin with_types_in $crate::bindings::postprocessor
            );
        };
    };
    ($type:ident with init) => {
        $crate::export_postprocess!($type);
        $crate::export_init!($type);
    };
}

/// Exports [`Init`]; the `with init` form of the macros above uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! export_init {
    ($type:ident) => {
        const _: () = {
            struct Plugin;
            impl $crate::bindings::initialized::exports::plimsoll::stage::lifecycle::Guest for Plugin {
                fn init() -> Result<(), String> {
                    <$type as $crate::Init>::init()
                }
            }
    $crate::bindings::initialized::export_initialized!(Plugin with_types_in $crate::bindings::initialized);
        };
    };
}
