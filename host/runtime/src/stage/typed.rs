//! The kinds of stage. Each is a [`StageCore`] with the export of its kind, so that a pipeline cannot be built from
//! stages of the wrong kind.

use std::ops::Deref;
use std::sync::Arc;

use super::bindings::{Reply, Request};
use super::bundle::{Bundle, Handed};
use super::call::{InferExport, PostprocessExport, Prepared, PreprocessExport, StageExport, TransformExport};
use super::code::Code;
use super::core::StageCore;
use super::error::{StageError, WrongItems};
use super::observer::RunObserver;
use super::odd_tensor::OddTensor;
use crate::tensor::Tensors;

/// Maximum bytes of the media type of a reply.
const MAX_MEDIA_TYPE: usize = 256;

/// Replaces a media type that is none by that of any bytes. No limit counts its bytes, and a plugin could make it as long as
/// its memory.
fn bound_media_type(media_type: &mut String) {
    if media_type.len() > MAX_MEDIA_TYPE {
        *media_type = "application/octet-stream".to_owned();
    }
}

macro_rules! typed_stage {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $export:ident) => {
        $(#[$doc])*
        pub struct $name(Arc<StageCore>);

        impl $name {
            /// Takes a core that is of this kind.
            ///
            /// # Errors
            /// If its component does not export the interface of this kind.
            pub fn new(core: Arc<StageCore>) -> wasmtime::Result<Self> {
                Self::export(&core.code())?;
                Ok(Self(core))
            }

            /// The part that all kinds of stage share.
            pub fn core(&self) -> &Arc<StageCore> {
                &self.0
            }

            /// The export of a code of this kind of stage.
            ///
            /// # Errors
            /// If it is the code of another kind.
            pub fn export(code: &Code) -> wasmtime::Result<&$export> {
                match &code.export {
                    StageExport::$kind(export) => Ok(export),
                    _ => Err(wasmtime::Error::msg(concat!("not the code of a ", stringify!($name)))),
                }
            }
        }

        impl Deref for $name {
            type Target = StageCore;

            fn deref(&self) -> &StageCore {
                &self.0
            }
        }
    };
}

typed_stage!(
    /// A preprocess stage: body → tensors and a context.
    PreprocessStage,
    Preprocess,
    PreprocessExport
);
typed_stage!(
    /// An infer stage: tensors → tensors.
    InferStage,
    Infer,
    InferExport
);
typed_stage!(
    /// A transform stage: tensors and a context → tensors and a context, or items.
    TransformStage,
    Transform,
    TransformExport
);
typed_stage!(
    /// A postprocess stage: tensors and the context → reply.
    PostprocessStage,
    Postprocess,
    PostprocessExport
);

impl PreprocessStage {
    /// Runs preprocessing on a body; returns the model's inputs and the context.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn run(
        &self,
        observer: &mut dyn RunObserver,
        request: &Request,
        body: &[u8],
    ) -> Result<Prepared, StageError> {
        let call = async |code: &Code, store: &mut _| {
            let instance = self.0.instantiate(code, store).await?;
            let answer = Self::export(code)?.call(store, &instance, request, body).await?;
            if let Ok((_, context)) = &answer {
                self.0.check_output(context.len())?;
            }
            Ok(answer)
        };
        self.0.run(observer, request, Some(body.len()), call).await
    }
}

impl InferStage {
    /// Runs inference on the model's inputs; returns its outputs.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn run(
        &self,
        observer: &mut dyn RunObserver,
        request: &Request,
        inputs: Tensors,
    ) -> Result<Tensors, StageError> {
        let call = async move |code: &Code, store: &mut _| {
            let instance = self.0.instantiate(code, store).await?;
            let answer = Self::export(code)?.call(store, &instance, request, inputs).await?;
            if let Ok(outputs) = &answer {
                OddTensor::check(outputs)?;
            }
            Ok(answer)
        };
        self.0.run(observer, request, None, call).await
    }
}

impl TransformStage {
    /// Runs a transformation. `max_items` is the most items that it may make; `None` if it makes none.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn run(
        &self,
        observer: &mut dyn RunObserver,
        request: &Request,
        input: Bundle,
        max_items: Option<u32>,
    ) -> Result<Handed, StageError> {
        let call = async move |code: &Code, store: &mut _| {
            let instance = self.0.instantiate(code, store).await?;
            let answer = Self::export(code)?.call(store, &instance, request, input).await?;
            if let Ok(handed) = &answer {
                WrongItems::check(handed, max_items)?;
                self.0.check_output(handed.context_bytes())?;
            }
            Ok(answer)
        };
        self.0.run(observer, request, None, call).await
    }
}

impl PostprocessStage {
    /// Runs postprocessing on the model's outputs and the context of preprocessing; returns the reply.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn run(
        &self,
        observer: &mut dyn RunObserver,
        request: &Request,
        outputs: Tensors,
        context: &[u8],
    ) -> Result<Reply, StageError> {
        let call = async move |code: &Code, store: &mut _| {
            let instance = self.0.instantiate(code, store).await?;
            let mut answer = Self::export(code)?.call(store, &instance, request, outputs, context).await?;
            if let Ok(reply) = &mut answer {
                self.0.check_output(reply.body.len())?;
                bound_media_type(&mut reply.content_type);
            }
            Ok(answer)
        };
        self.0.run(observer, request, None, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_does_not_keep_the_memory_of_a_guest() {
        let mut usual = "application/json; charset=utf-8".to_owned();
        bound_media_type(&mut usual);
        assert_eq!(usual, "application/json; charset=utf-8");
        let mut long = "x/".to_owned() + &"y".repeat(1 << 20);
        bound_media_type(&mut long);
        assert_eq!(long, "application/octet-stream");
        assert!(long.capacity() <= MAX_MEDIA_TYPE);
    }
}
