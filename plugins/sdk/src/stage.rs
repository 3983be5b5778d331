//! The traits that a plugin implements, one per kind of stage, and the macros that export them.

use crate::{Bundle, Failure, NamedTensor, Outcome, Prepared, Reply, Request};

/// A stage that converts the body of a request into the input tensors of a model.
pub trait Preprocess {
    /// Converts the body, as it was received over HTTP. Returns the model's inputs with their names, and a context
    /// that is passed to postprocessing unchanged.
    ///
    /// # Errors
    /// The [`Failure`] decides the HTTP status of the reply.
    fn run(request: Request, body: Vec<u8>) -> Result<Prepared, Failure>;
}

/// A stage that runs a model on one kind of chip.
pub trait Infer {
    /// Runs the model on the tensors from preprocessing. Returns the model's outputs with their names.
    ///
    /// # Errors
    /// The [`Failure`] decides the HTTP status of the reply.
    fn run(request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure>;
}

/// A step that turns tensors into other tensors, between the steps of a pipeline.
pub trait Transform {
    /// Turns the tensors and the context of earlier steps into those for later steps: once ([`Outcome::One`]), or once
    /// for each item ([`Outcome::Items`]).
    ///
    /// # Errors
    /// The [`Failure`] decides the HTTP status of the reply.
    fn run(request: Request, input: Bundle) -> Result<Outcome, Failure>;
}

/// A stage that converts the output tensors of a model into the reply.
pub trait Postprocess {
    /// Converts the tensors from inference, with the context from preprocessing, into the reply to the caller.
    ///
    /// # Errors
    /// The [`Failure`] decides the HTTP status of the reply.
    fn run(request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure>;
}

/// Preparation that runs once per deployment. Every instance starts with the memory as [`Init::init`] left it.
pub trait Init {
    /// Reads weights, builds tables, checks the configuration. It must not keep handles (open streams, tensors) in
    /// statics, because a handle is only valid in the instance that created it.
    ///
    /// Memory that `init` allocates and frees is free heap in the snapshot. An instance with enough free heap does not
    /// grow its memory, which saves the host two system calls per request.
    ///
    /// # Errors
    /// An error rejects the plugin. Its text is shown to the person who deploys the plugin.
    fn init() -> Result<(), String>;
}

/// Exports a type as the stage `preprocess`: `export_preprocess!(Type);`, or
/// `export_preprocess!(Type with init);` if the type also implements [`Init`].
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

/// Exports a type as a step of kind `transform`: `export_transform!(Type);` or `export_transform!(Type with init);`.
#[macro_export]
macro_rules! export_transform {
    ($type:ident) => {
        const _: () = {
            struct Plugin;
            impl $crate::bindings::transformer::exports::plimsoll::stage::transform::Guest for Plugin {
                fn run(request: $crate::Request, input: $crate::Bundle) -> Result<$crate::Outcome, $crate::Failure> {
                    <$type as $crate::Transform>::run(request, input)
                }
            }
    $crate::bindings::transformer::export_transformer!(Plugin with_types_in $crate::bindings::transformer);
        };
    };
    ($type:ident with init) => {
        $crate::export_transform!($type);
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

/// Exports [`Init`]. Used by the `with init` form of the macros above.
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
