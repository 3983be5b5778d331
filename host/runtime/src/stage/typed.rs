//! The kinds of stage. Each is a [`StageCore`] with the export of its kind, so that a pipeline cannot be built from
//! stages of the wrong kind.

use std::ops::Deref;
use std::sync::Arc;

use super::bindings::{Reply, Request};
use super::bundle::{Bundle, Handed};
use super::call::{InferExport, PostprocessExport, Prepared, PreprocessExport, TransformExport};
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
    ($(#[$doc:meta])* $name:ident, $export:ident) => {
        $(#[$doc])*
        pub struct $name {
            core: Arc<StageCore>,
            export: $export,
        }

        impl $name {
            /// Takes a core that is of this kind.
            ///
            /// # Errors
            /// If its component does not export the interface of this kind.
            pub fn new(core: Arc<StageCore>) -> wasmtime::Result<Self> {
                Ok(Self { export: $export::new(&core.instance_pre)?, core })
            }

            /// The part that all kinds of stage share.
            pub fn core(&self) -> &Arc<StageCore> {
                &self.core
            }

            /// The component's export for this kind of stage.
            pub fn export(&self) -> &$export {
                &self.export
            }
        }

        impl Deref for $name {
            type Target = StageCore;

            fn deref(&self) -> &StageCore {
                &self.core
            }
        }
    };
}

typed_stage!(
    /// A preprocess stage: body → tensors and a context.
    PreprocessStage,
    PreprocessExport
);
typed_stage!(
    /// An infer stage: tensors → tensors.
    InferStage,
    InferExport
);
typed_stage!(
    /// A transform stage: tensors and a context → tensors and a context, or items.
    TransformStage,
    TransformExport
);
typed_stage!(
    /// A postprocess stage: tensors and the context → reply.
    PostprocessStage,
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
        let call = async |store: &mut _| {
            let instance = self.core.instantiate(store).await?;
            let answer = self.export.call(store, &instance, request, body).await?;
            if let Ok((_, context)) = &answer {
                self.core.check_output(context.len())?;
            }
            Ok(answer)
        };
        self.core.run(observer, request, Some(body.len()), call).await
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
        let call = async move |store: &mut _| {
            let instance = self.core.instantiate(store).await?;
            let answer = self.export.call(store, &instance, request, inputs).await?;
            if let Ok(outputs) = &answer {
                OddTensor::check(outputs)?;
            }
            Ok(answer)
        };
        self.core.run(observer, request, None, call).await
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
        let call = async move |store: &mut _| {
            let instance = self.core.instantiate(store).await?;
            let answer = self.export.call(store, &instance, request, input).await?;
            if let Ok(handed) = &answer {
                WrongItems::check(handed, max_items)?;
                self.core.check_output(handed.context_bytes())?;
            }
            Ok(answer)
        };
        self.core.run(observer, request, None, call).await
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
        let call = async move |store: &mut _| {
            let instance = self.core.instantiate(store).await?;
            let mut answer = self.export.call(store, &instance, request, outputs, context).await?;
            if let Ok(reply) = &mut answer {
                self.core.check_output(reply.body.len())?;
                bound_media_type(&mut reply.content_type);
            }
            Ok(answer)
        };
        self.core.run(observer, request, None, call).await
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
