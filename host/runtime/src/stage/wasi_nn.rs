//! The `wasi:nn` functions that a guest calls.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::imports::wasi::nn::{errors, graph, inference, tensor};
use super::error::UnreadableStrings;
use super::limits::{MAX_DIMENSIONS, MAX_TENSOR_NAME};
use super::odd_tensor::OddTensor;
use super::store::StoreState;
use crate::cap::MemoryLimit;
use crate::nn::handles::{ExecutionContext, Graph};
use crate::nn::{NnError, NnErrorKind};
use crate::tensor::{Tensor, TensorType, Tensors};
use crate::text::cut;

/// Bytes that the host needs for a tensor in addition to its data. Without it, any number of empty tensors would cost
/// nothing.
const TENSOR_OVERHEAD: u64 = 128;

/// Maximum bytes of an error message.
const MAX_MESSAGE: usize = 1 << 10;

fn cost(tensor: &Tensor) -> u64 {
    (tensor.data.len() + size_of_val(tensor.dimensions.as_slice())) as u64 + TENSOR_OVERHEAD
}

impl From<tensor::TensorType> for TensorType {
    fn from(ty: tensor::TensorType) -> Self {
        match ty {
            tensor::TensorType::Fp16 => Self::Fp16,
            tensor::TensorType::Fp32 => Self::Fp32,
            tensor::TensorType::Fp64 => Self::Fp64,
            tensor::TensorType::Bf16 => Self::Bf16,
            tensor::TensorType::U8 => Self::U8,
            tensor::TensorType::I32 => Self::I32,
            tensor::TensorType::I64 => Self::I64,
        }
    }
}

/// The type as guests see it; see [`TensorType::in_wasi_nn`].
impl TryFrom<TensorType> for tensor::TensorType {
    type Error = UnreadableStrings;

    fn try_from(ty: TensorType) -> Result<Self, UnreadableStrings> {
        Ok(match ty {
            TensorType::Fp16 => Self::Fp16,
            TensorType::Fp32 => Self::Fp32,
            TensorType::Fp64 => Self::Fp64,
            TensorType::Bf16 => Self::Bf16,
            TensorType::U8 | TensorType::Bool => Self::U8,
            TensorType::I32 | TensorType::I8 | TensorType::I16 | TensorType::U16 => Self::I32,
            TensorType::I64 | TensorType::U32 | TensorType::U64 => Self::I64,
            TensorType::Bytes => return Err(UnreadableStrings),
        })
    }
}

impl From<NnErrorKind> for errors::ErrorCode {
    fn from(kind: NnErrorKind) -> Self {
        match kind {
            NnErrorKind::InvalidArgument => Self::InvalidArgument,
            NnErrorKind::RuntimeError | NnErrorKind::DeviceFailure => Self::RuntimeError,
            NnErrorKind::UnsupportedOperation => Self::UnsupportedOperation,
            NnErrorKind::NotFound => Self::NotFound,
        }
    }
}

impl StoreState {
    fn nn_error<T>(&mut self, error: NnError) -> wasmtime::Result<Result<T, Resource<NnError>>> {
        // The guest chose the names in the message, and can keep the resource for any time.
        let mut error = error;
        error.message = cut(error.message, MAX_MESSAGE);
        self.last_nn_error = Some(error.clone());
        Ok(Err(self.table.push(error)?))
    }

    /// The bytes of a tensor as the guest sees them.
    ///
    /// # Errors
    /// If `wasi:nn` has no type with a number of the tensor or for its strings, or if the wider elements exceed the stage's
    /// cap. Then they do not fit into the guest's memory either.
    pub(super) fn shown_bytes(&self, tensor: &Resource<Tensor>) -> wasmtime::Result<Arc<Vec<u8>>> {
        let tensor = self.table.get(tensor)?;
        let shown = tensor.ty.in_wasi_nn();
        let (Some(size), Some(size_shown)) = (tensor.ty.size(), shown.size()) else {
            return Err(UnreadableStrings.into());
        };
        if shown == tensor.ty {
            return Ok(tensor.data.to_shared());
        }
        let wanted = (tensor.data.len() / size * size_shown) as u64;
        if wanted > self.limits.max_memory {
            self.meter.record_refusal();
            return Err(MemoryLimit {
                limit: self.limits.max_memory,
                wanted,
                what: "the elements of a tensor",
                key: "max_memory",
            }
            .into());
        }
        match tensor.converted(shown) {
            Some(converted) => Ok(converted?.data.to_shared()),
            None => Ok(tensor.data.to_shared()),
        }
    }

    /// Counts a tensor that this stage made against a limit that is as large as the stage's cap.
    fn charge(&mut self, tensor: &mut Tensor) -> wasmtime::Result<()> {
        let wanted = self.tensor_bytes.saturating_add(cost(tensor));
        if wanted > self.limits.max_memory {
            self.meter.record_refusal();
            return Err(MemoryLimit {
                limit: self.limits.max_memory,
                wanted,
                what: "tensors held by the host",
                key: "max_memory",
            }
            .into());
        }
        if let Some(request) = &self.request {
            let held = request.hold(cost(tensor)).inspect_err(|_| self.meter.record_refusal())?;
            tensor.held = Some(Arc::new(held));
        }
        self.tensor_bytes = wanted;
        tensor.counted = true;
        self.meter.record_host_bytes(wanted);
        Ok(())
    }
}

impl tensor::Host for StoreState {}

impl tensor::HostTensor for StoreState {
    /// The bytes count against the limit for tensors, because they are no longer in the guest's memory.
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<Tensor>> {
        if dimensions.len() > MAX_DIMENSIONS {
            return Err(OddTensor::Dimensions(dimensions.len()).into());
        }
        let mut tensor = Tensor::new(dimensions, ty.into(), data);
        self.charge(&mut tensor)?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, this: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&this)?.dimensions.clone())
    }

    fn ty(&mut self, this: Resource<Tensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(self.table.get(&this)?.ty.try_into()?)
    }

    fn data(&mut self, this: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.shown_bytes(&this)?.to_vec())
    }

    fn drop(&mut self, this: Resource<Tensor>) -> wasmtime::Result<()> {
        self.take_tensor(this).map(|_| ())
    }
}

impl graph::Host for StoreState {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> wasmtime::Result<Result<Resource<Graph>, Resource<NnError>>> {
        self.nn_error(NnError {
            kind: NnErrorKind::UnsupportedOperation,
            message: "models are loaded by name only: declare the model in plimsoll.toml and use load-by-name".into(),
        })
    }

    fn load_by_name(&mut self, name: String) -> wasmtime::Result<Result<Resource<Graph>, Resource<NnError>>> {
        self.last_nn_error = None;
        match self.environment.named_model() {
            Some((known, model)) if *known == name => Ok(Ok(self.table.push(Graph(Arc::clone(model)))?)),
            other => {
                let known = other.map_or("it has none".to_owned(), |(known, _)| format!("it has `{known}`"));
                self.nn_error(NnError {
                    kind: NnErrorKind::NotFound,
                    message: format!("this stage has no model `{name}`; {known}"),
                })
            }
        }
    }
}

impl graph::HostGraph for StoreState {
    fn init_execution_context(
        &mut self,
        this: Resource<Graph>,
    ) -> wasmtime::Result<Result<Resource<ExecutionContext>, Resource<NnError>>> {
        let model = Arc::clone(&self.table.get(&this)?.0);
        Ok(Ok(self.table.push(ExecutionContext(model))?))
    }

    fn drop(&mut self, this: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl inference::Host for StoreState {}

impl inference::HostGraphExecutionContext for StoreState {
    async fn compute(
        &mut self,
        this: Resource<ExecutionContext>,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Resource<Tensor>)>, Resource<NnError>>> {
        // An error of an earlier call is not the reason why a later one fails.
        self.last_nn_error = None;
        let model = Arc::clone(&self.table.get(&this)?.0);
        let inputs = self.take_tensors(inputs)?;
        match model.run_with(inputs, self.schedule.priority(), Some(&self.meter)).await {
            Ok(mut outputs) => {
                outputs.iter_mut().try_for_each(|(_, tensor)| self.charge(tensor))?;
                Ok(Ok(self.push_tensors(outputs)?))
            }
            Err(error) => self.nn_error(error),
        }
    }

    fn drop(&mut self, this: Resource<ExecutionContext>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl errors::Host for StoreState {}

impl errors::HostError for StoreState {
    fn code(&mut self, this: Resource<NnError>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&this)?.kind.into())
    }

    fn data(&mut self, this: Resource<NnError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&this)?.message.clone())
    }

    fn drop(&mut self, this: Resource<NnError>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl StoreState {
    /// Moves a tensor out of the store. Its bytes no longer count against this stage.
    pub(crate) fn take_tensor(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Tensor> {
        let mut tensor = self.table.delete(tensor)?;
        if std::mem::take(&mut tensor.counted) {
            self.tensor_bytes -= cost(&tensor);
        }
        Ok(tensor)
    }

    /// Moves named tensors out of the store.
    pub(crate) fn take_tensors(&mut self, tensors: Vec<(String, Resource<Tensor>)>) -> wasmtime::Result<Tensors> {
        let take = |(name, tensor): (String, _)| match name.len() {
            bytes if bytes > MAX_TENSOR_NAME => Err(OddTensor::Name(bytes).into()),
            _ => Ok((name, self.take_tensor(tensor)?)),
        };
        tensors.into_iter().map(take).collect()
    }

    /// Moves named tensors into the store, as resources that its guest owns.
    pub(crate) fn push_tensors(&mut self, tensors: Tensors) -> wasmtime::Result<Vec<(String, Resource<Tensor>)>> {
        tensors.into_iter().map(|(name, tensor)| Ok((name, self.table.push(tensor)?))).collect()
    }
}
