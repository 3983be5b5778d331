//! The `wasi:nn` functions that a guest calls.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::loaded::LoadedModel;
use super::model::NnError;
use super::tensor::{Tensor, TensorType};
use crate::stage::bindings::imports::wasi::nn::{errors, graph, inference, tensor};
use crate::stage::cap::MemoryLimit;
use crate::stage::state::State;

/// What the host keeps for a tensor besides its bytes: without it, endless empty tensors would cost nothing.
const TENSOR_OVERHEAD: u64 = 128;

/// Bytes of an error's message.
const MAX_MESSAGE: usize = 1 << 10;

fn cost(tensor: &Tensor) -> u64 {
    (tensor.data.len() + size_of_val(tensor.dimensions.as_slice())) as u64 + TENSOR_OVERHEAD
}

/// A model that a guest has opened.
#[derive(Clone)]
pub struct Graph(Arc<LoadedModel>);

/// A model bound to its next run.
#[derive(Clone)]
pub struct ExecutionContext(Arc<LoadedModel>);

impl State {
    fn nn_error<T>(&mut self, error: NnError) -> wasmtime::Result<Result<T, Resource<NnError>>> {
        // The guest chose the names in it, and keeps the resource for as long as it likes.
        let mut error = error;
        error.message.truncate(error.message.floor_char_boundary(MAX_MESSAGE));
        self.last_nn_error = Some(error.clone());
        Ok(Err(self.table.push(error)?))
    }

    /// Counts a tensor that this stage made against its cap.
    fn charge(&mut self, tensor: &mut Tensor) -> wasmtime::Result<()> {
        let wanted = self.tensor_bytes.saturating_add(cost(tensor));
        if wanted > self.limits.max_memory {
            self.meter.host_refused();
            return Err(MemoryLimit { limit: self.limits.max_memory, wanted, what: "tensors held by the host" }.into());
        }
        self.tensor_bytes = wanted;
        tensor.counted = true;
        self.meter.host_held(wanted);
        Ok(())
    }
}

impl tensor::Host for State {}

impl tensor::HostTensor for State {
    /// The bytes count against the stage's cap, for the guest's own memory no longer holds them.
    fn new(&mut self, dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>) -> wasmtime::Result<Resource<Tensor>> {
        let mut tensor = Tensor { dimensions, ty, data: Arc::new(data), counted: false };
        self.charge(&mut tensor)?;
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, this: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&this)?.dimensions.clone())
    }

    fn ty(&mut self, this: Resource<Tensor>) -> wasmtime::Result<TensorType> {
        Ok(self.table.get(&this)?.ty)
    }

    fn data(&mut self, this: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&this)?.data.to_vec())
    }

    fn drop(&mut self, this: Resource<Tensor>) -> wasmtime::Result<()> {
        self.take_tensor(this).map(|_| ())
    }
}

impl graph::Host for State {
    fn load(
        &mut self,
        _builder: Vec<Vec<u8>>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> wasmtime::Result<Result<Resource<Graph>, Resource<NnError>>> {
        self.nn_error(NnError {
            code: errors::ErrorCode::UnsupportedOperation,
            message: "models are loaded by name only: declare the model in plimsoll.toml and use load-by-name".into(),
        })
    }

    fn load_by_name(&mut self, name: String) -> wasmtime::Result<Result<Resource<Graph>, Resource<NnError>>> {
        self.last_nn_error = None;
        match &self.model {
            Some((known, model)) if *known == name => Ok(Ok(self.table.push(Graph(Arc::clone(model)))?)),
            other => {
                let known = other.as_ref().map_or("it has none".to_owned(), |(known, _)| format!("it has `{known}`"));
                self.nn_error(NnError {
                    code: errors::ErrorCode::NotFound,
                    message: format!("this stage has no model `{name}`; {known}"),
                })
            }
        }
    }
}

impl graph::HostGraph for State {
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

impl inference::Host for State {}

impl inference::HostGraphExecutionContext for State {
    async fn compute(
        &mut self,
        this: Resource<ExecutionContext>,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Resource<Tensor>)>, Resource<NnError>>> {
        // What an earlier call said is not why a later one fails.
        self.last_nn_error = None;
        let model = Arc::clone(&self.table.get(&this)?.0);
        let inputs = self.take_tensors(inputs)?;
        match model.run(inputs).await {
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

impl errors::Host for State {}

impl errors::HostError for State {
    fn code(&mut self, this: Resource<NnError>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&this)?.code)
    }

    fn data(&mut self, this: Resource<NnError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&this)?.message.clone())
    }

    fn drop(&mut self, this: Resource<NnError>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl State {
    /// Takes a tensor out of the store: its bytes are no longer this stage's.
    pub(crate) fn take_tensor(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Tensor> {
        let mut tensor = self.table.delete(tensor)?;
        if std::mem::take(&mut tensor.counted) {
            self.tensor_bytes -= cost(&tensor);
        }
        Ok(tensor)
    }

    /// Takes named tensors out of the store.
    pub(crate) fn take_tensors(
        &mut self,
        tensors: Vec<(String, Resource<Tensor>)>,
    ) -> wasmtime::Result<Vec<(String, Tensor)>> {
        tensors.into_iter().map(|(name, tensor)| Ok((name, self.take_tensor(tensor)?))).collect()
    }

    /// Puts named tensors into the store, as resources that its guest owns.
    pub(crate) fn push_tensors(
        &mut self,
        tensors: Vec<(String, Tensor)>,
    ) -> wasmtime::Result<Vec<(String, Resource<Tensor>)>> {
        tensors.into_iter().map(|(name, tensor)| Ok((name, self.table.push(tensor)?))).collect()
    }
}
