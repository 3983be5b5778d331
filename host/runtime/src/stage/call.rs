//! The typed exports of the kinds of plugin. An export is looked up and type-checked once per deployment.
//!
//! Tensors that a guest returns are moved out of its store; tensors that it gets are moved into it. The inner error of
//! each call is the failure that the plugin returned, the outer one a trap or a limit.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::inferencer::InferencerIndices;
use super::bindings::postprocessor::PostprocessorIndices;
use super::bindings::preprocessor::PreprocessorIndices;
use super::bindings::transformer::TransformerIndices;
use super::bindings::transformer::exports::plimsoll::stage::transform;
use super::bindings::{Failure, Reply, Request};
use super::bundle::{Bundle, Handed};
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

/// The export of world `transformer`.
pub struct TransformExport(TransformerIndices);

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

impl TransformExport {
    /// Looks up the export.
    ///
    /// # Errors
    /// If it is missing or has another type.
    pub fn new(pre: &InstancePre<StoreState>) -> wasmtime::Result<Self> {
        TransformerIndices::new(pre).map(Self)
    }

    /// Calls the plugin with what earlier steps handed on; returns what it hands on.
    ///
    /// # Errors
    /// A trap or a limit.
    pub async fn call(
        &self,
        store: &mut Store<StoreState>,
        instance: &Instance,
        request: &Request,
        input: Bundle,
    ) -> CallResult<Handed> {
        let plugin = self.0.load(&mut *store, instance)?;
        let tensors = store.data_mut().push_tensors(input.tensors)?;
        let input = transform::Bundle { tensors, context: input.context.to_vec() };
        let taken = |store: &mut Store<StoreState>, bundle: transform::Bundle| -> wasmtime::Result<Bundle> {
            let tensors = store.data_mut().take_tensors(bundle.tensors)?;
            Ok(Bundle { tensors, context: bundle.context.into() })
        };
        match plugin.plimsoll_stage_transform().call_run(&mut *store, request, &input).await? {
            Ok(transform::Outcome::One(bundle)) => Ok(Ok(Handed::One(taken(store, bundle)?))),
            Ok(transform::Outcome::Items(items)) => {
                let items = items.into_iter().map(|item| taken(store, item)).collect::<wasmtime::Result<_>>()?;
                Ok(Ok(Handed::Items(items)))
            }
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
    /// World `transformer`.
    Transform(TransformExport),
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
            StageKind::Transform => Self::Transform(TransformExport::new(pre)?),
            StageKind::Postprocess => Self::Postprocess(PostprocessExport::new(pre)?),
        })
    }
}
