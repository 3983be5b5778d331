//! The typed exports of the three kinds of plugin. An export is looked up and type-checked once per deployment.
//!
//! Tensors that a guest returns are moved out of its store; tensors that it gets are moved into it. The inner error of
//! each call is the failure that the plugin returned, the outer one a trap or a limit.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::inferencer::InferencerIndices;
use super::bindings::postprocessor::PostprocessorIndices;
use super::bindings::preprocessor::PreprocessorIndices;
use super::bindings::{Failure, Reply, Request};
use super::store::StoreState;
use crate::kind::StageKind;
use crate::tensor::Tensors;

/// The result of a call into a guest.
pub type CallResult<T> = wasmtime::Result<Result<T, Failure>>;

/// The inputs of the model, and the context that is passed to postprocessing.
pub type Prepared = (Tensors, Vec<u8>);

/// The export of world `preprocessor`.
pub struct PreprocessExport(PreprocessorIndices);

/// The export of world `inferencer`.
pub struct InferExport(InferencerIndices);

/// The export of world `postprocessor`.
pub struct PostprocessExport(PostprocessorIndices);

impl PreprocessExport {
    /// Looks up the export.
    ///
    /// # Errors
    /// If it is missing or has another type.
    pub fn new(pre: &InstancePre<StoreState>) -> wasmtime::Result<Self> {
        PreprocessorIndices::new(pre).map(Self)
    }

    /// Calls the plugin with a body.
    ///
    /// # Errors
    /// A trap or a limit.
    pub async fn call(
        &self,
        store: &mut Store<StoreState>,
        instance: &Instance,
        request: &Request,
        body: &[u8],
    ) -> CallResult<Prepared> {
        let plugin = self.0.load(&mut *store, instance)?;
        match plugin.plimsoll_stage_preprocess().call_run(&mut *store, request, body).await? {
            Ok(prepared) => Ok(Ok((store.data_mut().take_tensors(prepared.tensors)?, prepared.context))),
            Err(failure) => Ok(Err(failure)),
        }
    }
}

impl InferExport {
    /// Looks up the export.
    ///
    /// # Errors
    /// If it is missing or has another type.
    pub fn new(pre: &InstancePre<StoreState>) -> wasmtime::Result<Self> {
        InferencerIndices::new(pre).map(Self)
    }

    /// Calls the plugin with the inputs of the model; returns the outputs.
    ///
    /// # Errors
    /// A trap or a limit.
    pub async fn call(
        &self,
        store: &mut Store<StoreState>,
        instance: &Instance,
        request: &Request,
        inputs: Tensors,
    ) -> CallResult<Tensors> {
        let plugin = self.0.load(&mut *store, instance)?;
        let inputs = store.data_mut().push_tensors(inputs)?;
        match plugin.plimsoll_stage_infer().call_run(&mut *store, request, &inputs).await? {
            Ok(outputs) => Ok(Ok(store.data_mut().take_tensors(outputs)?)),
            Err(failure) => Ok(Err(failure)),
        }
    }
}

impl PostprocessExport {
    /// Looks up the export.
    ///
    /// # Errors
    /// If it is missing or has another type.
    pub fn new(pre: &InstancePre<StoreState>) -> wasmtime::Result<Self> {
        PostprocessorIndices::new(pre).map(Self)
    }

    /// Calls the plugin with the outputs of the model and the context of preprocessing; returns the reply.
    ///
    /// # Errors
    /// A trap or a limit.
    pub async fn call(
        &self,
        store: &mut Store<StoreState>,
        instance: &Instance,
        request: &Request,
        outputs: Tensors,
        context: &[u8],
    ) -> CallResult<Reply> {
        let plugin = self.0.load(&mut *store, instance)?;
        let outputs = store.data_mut().push_tensors(outputs)?;
        plugin.plimsoll_stage_postprocess().call_run(&mut *store, request, &outputs, context).await
    }
}

/// The export of a plugin whose kind is known only at run time.
pub enum StageExport {
    /// World `preprocessor`.
    Preprocess(PreprocessExport),
    /// World `inferencer`.
    Infer(InferExport),
    /// World `postprocessor`.
    Postprocess(PostprocessExport),
}

impl StageExport {
    /// Looks up the export of a kind.
    ///
    /// # Errors
    /// If it is missing or has another type.
    pub fn new(pre: &InstancePre<StoreState>, kind: StageKind) -> wasmtime::Result<Self> {
        Ok(match kind {
            StageKind::Preprocess => Self::Preprocess(PreprocessExport::new(pre)?),
            StageKind::Infer => Self::Infer(InferExport::new(pre)?),
            StageKind::Postprocess => Self::Postprocess(PostprocessExport::new(pre)?),
        })
    }
}
