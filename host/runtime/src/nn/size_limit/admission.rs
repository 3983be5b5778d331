//! The limit for the runs at admission, with inputs that the host makes: a model may need too much for them.

use super::SizeLimit;
use crate::nn::error::{Misfit, RunError};
use crate::nn::memory::ArenaSizes;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, Tensors};

/// A model that refuses runs which would be too large. Without a limit, it refuses none.
pub(in crate::nn) struct Limited<'a> {
    pub(in crate::nn) model: &'a dyn Model,
    pub(in crate::nn) limit: Option<&'a SizeLimit>,
}

impl Limited<'_> {
    fn check(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.limit.map_or(Ok(()), |limit| limit.check_here(inputs))
    }
}

impl Model for Limited<'_> {
    fn properties(&self) -> &ModelProperties {
        self.model.properties()
    }

    fn check_numbers(&self, index: usize, tensor: &Tensor) -> Result<(), Misfit> {
        self.model.check_numbers(index, tensor)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.check(inputs)?;
        self.model.run(inputs)
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        self.check(inputs)?;
        self.model.warm(inputs)
    }

    fn arenas(&self) -> ArenaSizes {
        self.model.arenas()
    }
}
