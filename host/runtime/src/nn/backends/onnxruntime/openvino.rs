//! What the execution provider of OpenVINO does not compute as ONNX defines it: models that are refused, nodes that are named,
//! and numbers of requests that are refused.

use plimsoll_onnx::DifferentNode;

use crate::nn::chip::{CPU_PROVIDER, Placement};
use crate::nn::device::Device;
use crate::nn::error::Misfit;
use crate::nn::not_finite;
use crate::tensor::{Tensor, TensorType};

/// Returns true for each provider of OpenVINO, by whichever of its names. Its plugin has a further one with the name
/// `OpenVINOExecutionProvider.AUTO`, which chooses the device itself.
pub(super) fn is_openvino(device: &Device) -> bool {
    const NAME: &str = "openvino";
    let Device::Chip(chip) = device else { return false };
    chip.provider.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME))
}

/// The nodes of a model that OpenVINO may compute differently, one sentence for each difference.
///
/// # Errors
/// The nodes that it computes wrongly for usual numbers.
pub(super) fn check(different: &[DifferentNode], placement: &[Placement]) -> Result<Vec<String>, String> {
    let is_on = |provider: &Placement, operator: &String| provider.operators.contains(operator);
    // An operator that only the CPU computes. One that is in neither list was joined with others.
    let is_on_cpu = |operator: &String| {
        let (cpu, others): (Vec<_>, Vec<_>) = placement.iter().partition(|one| one.provider == CPU_PROVIDER);
        cpu.iter().any(|one| is_on(one, operator)) && !others.iter().any(|one| is_on(one, operator))
    };
    let mut notes = Vec::new();
    for DifferentNode { difference, node, operator } in different {
        if is_on_cpu(operator) {
            continue;
        }
        let note = format!("node `{node}` ({operator}): OpenVINO {}", difference.explained());
        if difference.is_refused() {
            return Err(format!(
                "{note}. Use another target for this model, or export it without this node or with another type"
            ));
        }
        notes.push(note);
    }
    Ok(notes)
}

/// Refuses numbers with which OpenVINO computes something else.
pub(super) fn check_numbers(tensor: &Tensor) -> Result<(), Misfit> {
    let data = &tensor.data;
    // OpenVINO cuts 64-bit integers off to 32 bits: -9223372036854775808 would be 0.
    let is_small = |number: &i64| i32::try_from(*number).is_ok();
    let large = match tensor.ty {
        TensorType::U32 => data.as_chunks().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).find(|n| !is_small(n)),
        TensorType::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).find(|n| !is_small(n)),
        _ => None,
    };
    if let Some(number) = large {
        return Err(Misfit::Number(format!("OpenVINO computes {} as i32; {number} is too large", tensor.ty)));
    }
    match not_finite::is_finite(tensor) {
        true => Ok(()),
        false => Err(Misfit::Number(
            "OpenVINO loses NaN and infinities, for example in Relu, Clip, Max and comparisons; send finite numbers, or use \
             a chip with another target"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use half::{bf16, f16};
    use plimsoll_onnx::OpenVinoDifference;

    use super::*;
    use crate::nn::chip::Chip;

    #[test]
    fn openvino_is_known_by_each_of_its_names() {
        let is_named = |provider: &str| {
            let (name, provider) = ("b".to_owned(), provider.to_owned());
            let chip = Chip { name, provider, library: None, device: None, options: BTreeMap::new() };
            is_openvino(&Device::Chip(Arc::new(chip)))
        };
        let names = ["openvino", "OpenVINO", "OpenVINOExecutionProvider", "OpenVINOExecutionProvider.AUTO"];
        assert!(names.into_iter().all(is_named));
        assert!(!is_named("open") && !is_named("qnn") && !is_openvino(&Device::Cpu));
    }

    #[test]
    fn a_node_that_only_the_cpu_computes_is_not_named() {
        let node = |difference| DifferentNode { difference, node: "n".into(), operator: "Add".into() };
        let placement = |provider: &str, operator: &str| {
            let (provider, operators) = (provider.to_owned(), vec![operator.to_owned()]);
            Placement { provider, nodes: 1, operators }
        };
        let warned = [node(OpenVinoDifference::In32Bits)];
        let refused = [node(OpenVinoDifference::Saturates)];
        let of_chip = [placement("OpenVINOExecutionProvider", "Add"), placement(CPU_PROVIDER, "Add")];
        let notes = check(&warned, &of_chip).expect("a note");
        assert!(notes.len() == 1 && notes[0].starts_with("node `n` (Add): OpenVINO computes 64-bit"), "{notes:?}");
        assert!(check(&refused, &of_chip).expect_err("refused").contains("saturation"));
        let of_cpu = [placement("OpenVINOExecutionProvider", "Mul"), placement(CPU_PROVIDER, "Add")];
        assert_eq!(check(&warned, &of_cpu), Ok(Vec::new()));
        assert_eq!(check(&refused, &of_cpu), Ok(Vec::new()));
        let joined = [placement("OpenVINOExecutionProvider", "Mul")];
        assert!(check(&refused, &joined).is_err(), "it is part of another node");
    }

    #[test]
    fn numbers_that_openvino_loses_are_refused() {
        let tensor = |ty, bytes: Vec<u8>| Tensor::new(vec![1], ty, bytes);
        for (ty, bytes) in [
            (TensorType::Fp32, f32::MAX.to_le_bytes().to_vec()),
            (TensorType::Fp64, f64::MIN.to_le_bytes().to_vec()),
            (TensorType::I64, (-2_147_483_648_i64).to_le_bytes().to_vec()),
            (TensorType::U32, 2_147_483_647_u32.to_le_bytes().to_vec()),
            (TensorType::I32, i32::MIN.to_le_bytes().to_vec()),
            (TensorType::Fp16, f16::MAX.to_le_bytes().to_vec()),
        ] {
            assert!(check_numbers(&tensor(ty, bytes)).is_ok(), "{ty}");
        }
        for (ty, bytes) in [
            (TensorType::Fp32, f32::NAN.to_le_bytes().to_vec()),
            (TensorType::Fp32, f32::NEG_INFINITY.to_le_bytes().to_vec()),
            (TensorType::Fp64, f64::INFINITY.to_le_bytes().to_vec()),
            (TensorType::Fp16, f16::INFINITY.to_le_bytes().to_vec()),
            (TensorType::Bf16, bf16::NAN.to_le_bytes().to_vec()),
            (TensorType::I64, 2_147_483_648_i64.to_le_bytes().to_vec()),
            (TensorType::U32, u32::MAX.to_le_bytes().to_vec()),
        ] {
            assert!(check_numbers(&tensor(ty, bytes)).is_err(), "{ty}");
        }
    }
}
