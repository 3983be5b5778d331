//! NaN and infinities in inputs. Some execution providers lose them (`max(x, 0)` of NaN may be 0), so that an answer looks like
//! any other although its input has no meaning.

use std::panic::{AssertUnwindSafe, catch_unwind};

use half::{bf16, f16};

use super::dynamic_shapes::may_differ;
use super::error::RunError;
use super::model::Model;
use crate::comparison::{Comparison, Mismatch};
use crate::tensor::{Tensor, TensorType, Tensors};

/// True if no element is NaN or infinite.
pub(super) fn is_finite(tensor: &Tensor) -> bool {
    let data = &tensor.data;
    match tensor.ty {
        TensorType::Fp32 => data.as_chunks().0.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()),
        TensorType::Fp64 => data.as_chunks().0.iter().all(|bytes| f64::from_le_bytes(*bytes).is_finite()),
        TensorType::Fp16 => data.as_chunks().0.iter().all(|bytes| f16::from_le_bytes(*bytes).is_finite()),
        TensorType::Bf16 => data.as_chunks().0.iter().all(|bytes| bf16::from_le_bytes(*bytes).is_finite()),
        _ => true,
    }
}

/// Returns false if a model with NaN or infinities in its inputs has other outputs than on the CPU (other elements are NaN or
/// infinite), or if its device fails. `inputs` are ones that both accept.
pub(super) fn are_kept(model: &dyn Model, cpu: &dyn Model, inputs: &[Tensor]) -> bool {
    if !inputs.iter().any(|input| has_fractions(input.ty)) {
        return true;
    }
    let run = |model: &dyn Model, inputs: &[Tensor]| -> Result<Tensors, RunError> {
        catch_unwind(AssertUnwindSafe(|| model.run(inputs))).unwrap_or(Err(RunError::Panicked))
    };
    let of = |number: f32, is_everywhere: bool| inputs.iter().map(move |input| with(input, number, is_everywhere));
    let cases = [(f32::NAN, false), (f32::NAN, true), (f32::INFINITY, false), (f32::NEG_INFINITY, false)];
    cases.into_iter().all(|(number, is_everywhere)| {
        let inputs: Vec<Tensor> = of(number, is_everywhere).collect();
        // Inputs that the model itself refuses would count as failures of the device.
        let Ok(expected) = run(cpu, &inputs) else { return true };
        match run(model, &inputs) {
            Ok(found) => match Comparison::new(&expected, &found).mismatch() {
                None => true,
                // How many elements a `NonZero` or a `NonMaxSuppression` finds says nothing about NaN.
                Some((output, Mismatch::Shape)) => may_differ(cpu, output, &expected, &found),
                Some(_) => false,
            },
            // A device that fails is taken out of service after some failures, which callers could cause.
            Err(RunError::Device(_) | RunError::Hung { .. } | RunError::OutOfService { .. } | RunError::Panicked) => {
                false
            }
            // What it refuses is not answered wrongly.
            Err(_) => true,
        }
    })
}

/// True for the types that have NaN and infinities.
fn has_fractions(ty: TensorType) -> bool {
    matches!(ty, TensorType::Fp32 | TensorType::Fp64 | TensorType::Fp16 | TensorType::Bf16)
}

/// The tensor with this number as its first element, or as all. Integers stay as they are.
fn with(tensor: &Tensor, number: f32, is_everywhere: bool) -> Tensor {
    let bytes = match tensor.ty {
        TensorType::Fp32 => number.to_le_bytes().to_vec(),
        TensorType::Fp64 => f64::from(number).to_le_bytes().to_vec(),
        TensorType::Fp16 => f16::from_f32(number).to_le_bytes().to_vec(),
        TensorType::Bf16 => bf16::from_f32(number).to_le_bytes().to_vec(),
        _ => return tensor.clone(),
    };
    let mut data = tensor.data.to_vec();
    let elements = data.chunks_exact_mut(bytes.len()).take(if is_everywhere { usize::MAX } else { 1 });
    elements.for_each(|element| element.copy_from_slice(&bytes));
    Tensor::new(tensor.dimensions.clone(), tensor.ty, data)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::nn::model::{ModelProperties, Signature};

    /// A model that changes each number.
    struct Each(ModelProperties, fn(f32) -> f32);

    impl Model for Each {
        fn properties(&self) -> &ModelProperties {
            &self.0
        }

        fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
            let numbers = inputs[0].data.as_chunks().0.iter().map(|&bytes| (self.1)(f32::from_le_bytes(bytes)));
            let bytes = numbers.flat_map(f32::to_le_bytes).collect();
            Ok(vec![("y".into(), Tensor::new(inputs[0].dimensions.clone(), TensorType::Fp32, bytes))])
        }
    }

    #[test]
    fn a_device_that_loses_them_is_found() {
        let signature = |name: &str| vec![Signature { name: name.into(), types: vec![TensorType::Fp32], shape: None }];
        let each = |function| Each(ModelProperties::on_cpu(signature("x"), signature("y"), 1), function);
        let input = [Tensor::new(vec![1, 3], TensorType::Fp32, [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat())];
        let relu = each(|number| if number < 0.0 { 0.0 } else { number });
        let same = each(|number| if number.is_nan() { number } else { number.max(0.0) });
        assert!(are_kept(&same, &relu, &input));
        for loses in [each(|number| number.max(0.0)), each(|number| number.clamp(0.0, 1e9) + 0.0 * number.min(0.0))] {
            assert!(!are_kept(&loses, &relu, &input));
        }
        let panics = each(|number| if number.is_finite() { number } else { panic!("not finite") });
        assert!(!are_kept(&panics, &relu, &input), "callers could make the device fail");
        static IS_ASKED: AtomicBool = AtomicBool::new(false);
        let asked = each(|number| {
            IS_ASKED.store(true, Relaxed);
            number
        });
        assert!(are_kept(&asked, &panics, &input) && !IS_ASKED.load(Relaxed), "what the CPU refuses is not tried");
        let integers = [Tensor::new(vec![1, 3], TensorType::I32, vec![0; 12])];
        assert!(are_kept(&asked, &relu, &integers) && !IS_ASKED.load(Relaxed), "integers are always finite");
    }

    #[test]
    fn every_type_with_fractions_is_checked() {
        let tensor = |ty, bytes: Vec<u8>| Tensor::new(vec![1], ty, bytes);
        for ty in [TensorType::Fp16, TensorType::Bf16, TensorType::Fp32, TensorType::Fp64] {
            let zero = tensor(ty, vec![0; ty.size().expect("fixed")]);
            assert!(is_finite(&zero), "{ty}");
            for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(!is_finite(&with(&zero, number, false)), "{ty}");
            }
        }
        assert!(is_finite(&tensor(TensorType::U8, vec![255])));
    }
}
