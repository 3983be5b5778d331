//! Compares a model on its device with the same model on the CPU, at admission: an execution provider may compute wrongly,
//! and its answers would look like any others.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::batch::{find_size, single};
use super::dynamic_shapes::may_differ;
use super::error::RunError;
use super::model::Model;
use super::not_finite;
use crate::comparison::{Comparison, Figures, Mismatch, Scores};
use crate::tensor::{Tensor, Tensors};

/// The inputs: numbers from 0 to 1, from -2 to 2, near 1, and all the same.
const PROBES: u32 = 4;
/// A relative difference above this is worth a warning. Half precision differs by about a tenth of it.
pub const TOLERANCE: f64 = 1e-2;
/// With a relative difference above this, another best class is no accident.
const GROSS: f64 = 0.1;
/// With a relative difference above this for every input, the device computes something else. Integers of 8 bits differ by some
/// percent.
const OTHER: f64 = 0.25;

/// How much the outputs of a model on its device differ from those on the CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// The inputs that were compared.
    pub runs: u32,
    /// The largest differences.
    pub figures: Figures,
    /// True if NaN and infinities in inputs have the effect that they have on the CPU.
    pub keeps_not_finite: bool,
}

/// Why a model is refused on its device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Disagreement {
    /// An output cannot be compared.
    #[error("output `{output}` {}", match mismatch {
        Mismatch::Name => "is an output on one of them only",
        Mismatch::Shape => "has another shape",
        Mismatch::Nan => "has NaN on one of them only",
        Mismatch::Infinite => "is infinite on one of them only",
    })]
    Mismatch {
        /// The output.
        output: String,
        /// How it differs.
        mismatch: Mismatch,
    },
    /// Another class has the best score, and the scores differ much.
    #[error("another class has the best score, and the scores differ by {:.0} % of the largest", relative * 100.0)]
    Best {
        /// The relative difference.
        relative: f64,
    },
    /// The numbers differ much, for every input.
    #[error("for each of {runs} inputs, numbers differ by at least {:.0} % of the largest", least * 100.0)]
    Numbers {
        /// The inputs that were compared.
        runs: u32,
        /// The smallest of their relative differences.
        least: f64,
    },
}

impl Agreement {
    /// Runs a model on its device and on the CPU with the same inputs. Returns `None` if there are no inputs that both
    /// accept.
    ///
    /// # Errors
    /// How the outputs differ, if the device computes wrongly.
    pub fn check(model: &dyn Model, cpu: &dyn Model) -> Result<Option<Self>, Disagreement> {
        let Ok((size, _)) = find_size(cpu, cpu.inputs()) else { return Ok(None) };
        let mut agreement: Option<Self> = None;
        let mut least = f64::INFINITY;
        for pattern in 0..PROBES {
            let inputs = single(model.inputs(), size, pattern);
            // Inputs that the model itself refuses would count as failures of the device.
            let Ok(expected) = run(cpu, &inputs) else { continue };
            let Ok(found) = run(model, &inputs) else { continue };
            let comparison = Comparison::new(&expected, &found);
            match comparison.mismatch() {
                None => {}
                // Of random numbers a device may find one box more than another.
                Some((output, Mismatch::Shape)) if may_differ(cpu, output, &expected, &found) => continue,
                Some((output, mismatch)) => {
                    return Err(Disagreement::Mismatch { output: output.to_owned(), mismatch });
                }
            }
            let Some(figures) = comparison.largest() else { continue };
            let has_other_best = figures.scores.is_some_and(|Scores { rows, top1, .. }| top1 < rows);
            if has_other_best && figures.relative > GROSS {
                return Err(Disagreement::Best { relative: figures.relative });
            }
            least = least.min(figures.relative);
            agreement = Some(match agreement {
                None => Self { runs: 1, figures, keeps_not_finite: true },
                Some(before) => Self { runs: before.runs + 1, figures: before.figures.largest(figures), ..before },
            });
        }
        match agreement {
            Some(Self { runs, .. }) if least > OTHER => Err(Disagreement::Numbers { runs, least }),
            agreement => {
                let keeps_not_finite = || not_finite::are_kept(model, cpu, &single(model.inputs(), size, 0));
                Ok(agreement.map(|agreement| Self { keeps_not_finite: keeps_not_finite(), ..agreement }))
            }
        }
    }
}

fn run(model: &dyn Model, inputs: &[Tensor]) -> Result<Tensors, RunError> {
    catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::model::{ModelProperties, Signature};
    use crate::tensor::TensorType;

    /// A model that changes each number of its input.
    struct Each {
        properties: ModelProperties,
        function: fn(usize, f32) -> f32,
        /// How many numbers it returns of ten.
        returned: u32,
    }

    impl Model for Each {
        fn properties(&self) -> &ModelProperties {
            &self.properties
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
            let numbers = inputs[0].data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            let numbers = numbers.enumerate().map(|(place, number)| (self.function)(place, number));
            let bytes = numbers.take(self.returned as usize).flat_map(f32::to_le_bytes).collect();
            Ok(vec![("y".into(), Tensor::new(vec![1, self.returned], TensorType::Fp32, bytes))])
        }
    }

    fn each(function: fn(usize, f32) -> f32) -> Each {
        let signature = |name: &str| {
            let shape = Some(vec![None, Some(10)]);
            vec![Signature { name: name.into(), types: vec![TensorType::Fp32], shape }]
        };
        let properties = ModelProperties::on_cpu(signature("x"), signature("y"), 1);
        Each { properties, function, returned: 10 }
    }

    #[test]
    fn a_device_that_computes_almost_the_same_agrees() {
        let cpu = each(|place, number| number * place as f32);
        let same = Agreement::check(&cpu, &cpu).expect("agrees").expect("compared");
        assert_eq!((same.runs, same.figures.absolute), (PROBES, 0.0));
        let near = each(|place, number| number * place as f32 * (1.0 + 1e-3 * (place % 2) as f32));
        let near = Agreement::check(&near, &cpu).expect("agrees").expect("compared");
        assert!((1e-4..TOLERANCE).contains(&near.figures.relative), "{near:?}");
    }

    #[test]
    fn a_device_that_computes_something_else_is_refused() {
        let cpu = each(|place, number| number * place as f32);
        let nan = each(|place, number| if place == 3 { f32::NAN } else { number * place as f32 });
        let error = Agreement::check(&nan, &cpu).expect_err("refused").to_string();
        assert_eq!(error, "output `y` has NaN on one of them only");
        let reversed = each(|place, number| number * (9 - place) as f32);
        let error = Agreement::check(&reversed, &cpu).expect_err("refused").to_string();
        assert!(error.starts_with("another class has the best score"), "{error}");
        let scaled = each(|place, number| 1.5 * number * place as f32);
        let error = Agreement::check(&scaled, &cpu).expect_err("refused").to_string();
        assert_eq!(error, "for each of 4 inputs, numbers differ by at least 33 % of the largest");
        let scaled = each(|place, number| 1.1 * number * place as f32);
        let scaled = Agreement::check(&scaled, &cpu).expect("the classes agree").expect("compared");
        assert!(scaled.figures.relative > TOLERANCE, "worth a warning");
    }

    #[test]
    fn models_with_a_fixed_number_of_rows_and_scalars_are_compared() {
        for (shape, dimensions) in [(vec![Some(4), Some(10)], vec![4, 10]), (vec![], vec![])] {
            let signature = |name: &str| {
                vec![Signature { name: name.into(), types: vec![TensorType::Fp32], shape: Some(shape.clone()) }]
            };
            let properties = ModelProperties::on_cpu(signature("x"), signature("y"), 1);
            let expected = dimensions.clone();
            let strict = |factor: f32| Strict { properties: properties.clone(), factor, dimensions: expected.clone() };
            assert!(Agreement::check(&strict(1.0), &strict(1.0)).expect("agrees").is_some(), "{dimensions:?}");
            Agreement::check(&strict(2.0), &strict(1.0)).expect_err("refused");
        }
    }

    /// The inputs would not fit into any memory.
    #[test]
    fn a_model_with_very_many_rows_is_not_compared() {
        let shape = vec![Some(u32::MAX), Some(1_000)];
        let signature = |name: &str| {
            vec![Signature { name: name.into(), types: vec![TensorType::Fp32], shape: Some(shape.clone()) }]
        };
        let properties = ModelProperties::on_cpu(signature("x"), signature("y"), 1);
        let many = Strict { properties, factor: 1.0, dimensions: vec![u32::MAX, 1_000] };
        assert_eq!(Agreement::check(&many, &many), Ok(None));
    }

    /// A model that takes inputs of one shape only.
    struct Strict {
        properties: ModelProperties,
        factor: f32,
        dimensions: Vec<u32>,
    }

    impl Model for Strict {
        fn properties(&self) -> &ModelProperties {
            &self.properties
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
            if inputs[0].dimensions != self.dimensions {
                return Err(RunError::backend("another shape"));
            }
            let numbers = inputs[0].data.as_chunks().0.iter().map(|&bytes| self.factor * f32::from_le_bytes(bytes));
            let bytes = numbers.flat_map(f32::to_le_bytes).collect();
            Ok(vec![("y".into(), Tensor::new(self.dimensions.clone(), TensorType::Fp32, bytes))])
        }
    }

    #[test]
    fn a_model_that_cannot_be_run_is_not_compared() {
        let mut cpu = each(|_, number| number);
        let fewer = Each { returned: 9, ..each(|_, number| number) };
        let error = Agreement::check(&fewer, &cpu).expect_err("refused").to_string();
        assert_eq!(error, "output `y` has another shape");
        cpu.properties.outputs[0].shape = Some(vec![Some(1), None]);
        assert_eq!(Agreement::check(&fewer, &cpu), Ok(None), "a dimension that the model declares as dynamic");
        let broken = each(|_, _| panic!("the device is gone"));
        assert_eq!(Agreement::check(&broken, &cpu), Ok(None));
    }
}
