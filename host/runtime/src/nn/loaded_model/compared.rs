//! The comparison with the same model on the CPU, at admission.

use super::LoadedModel;
use crate::nn::agreement::{Agreement, TOLERANCE};
use crate::nn::error::{LoadError, Misfit};
use crate::nn::model::Model;
use crate::nn::not_finite;
use crate::nn::size_limit::Limited;
use crate::tensor::Tensor;

/// What is said of a device that loses NaN and infinities.
const LOSES: &str = "with NaN or infinities in the inputs, the outputs are not those on the CPU, so requests with them are \
                     refused";

impl LoadedModel {
    /// Compares the outputs with those of the same model on the CPU. Call it after [`LoadedModel::on`].
    ///
    /// # Errors
    /// If the device computes something else.
    pub fn compared_with(mut self, cpu: &dyn Model) -> Result<Self, LoadError> {
        let (name, target) = (&self.name, &self.runs_on.1);
        let limit = self.size_limit.as_deref();
        let limited = |model| Limited { model, limit };
        let checked = Agreement::check(&limited(&*self.model), &limited(cpu)).map_err(|error| {
            LoadError(format!(
                "the outputs on target `{target}` are not those on the CPU: {error}. The execution provider computes this \
                 model wrongly: use another version or other options of it, or another target. \
                 `compare_with_cpu = false` serves the model nevertheless"
            ))
        })?;
        match checked {
            None => tracing::warn!(
                "model {name}, target {target}: it is not known whether the outputs are those on the CPU, because no input \
                 is known that both accept"
            ),
            Some(Agreement { figures, .. }) if figures.relative > TOLERANCE => tracing::warn!(
                "model {name}, target {target}: the outputs differ from those on the CPU by {:.1} % of the largest; if \
                 the device does not compute in a lower precision on purpose, check its answers",
                figures.relative * 100.0
            ),
            Some(Agreement { figures, .. }) if figures.unequal_integers > 0 => tracing::warn!(
                "model {name}, target {target}: {} integers or booleans of the outputs are not those on the CPU. They may be \
                 classes or positions with almost the same score; check the answers of the device",
                figures.unequal_integers
            ),
            Some(Agreement { figures, .. }) => tracing::info!(
                "model {name}, target {target}: the outputs differ from those on the CPU by {:.1e} of the largest",
                figures.relative
            ),
        }
        if checked.is_some_and(|agreement| !agreement.keeps_not_finite) {
            tracing::warn!("model {name}, target {target}: {LOSES}");
            self.differences.push(LOSES.to_owned());
        }
        self.agreement = checked;
        Ok(self)
    }

    /// Refuses numbers that the device was seen to lose.
    pub(super) fn check_finite(&self, tensor: &Tensor) -> Result<(), Misfit> {
        match self.agreement.is_some_and(|agreement| !agreement.keeps_not_finite) && !not_finite::is_finite(tensor) {
            false => Ok(()),
            true => Err(Misfit::Number(format!(
                "the device `{}` loses NaN and infinities; send finite numbers, or use a chip with another target",
                self.runs_on.1
            ))),
        }
    }
}
