//! Estimates of the sizes of runs.

use std::sync::{Mutex, PoisonError};

use plimsoll_onnx::{GivenInput, LARGEST_TOTAL, LARGEST_VALUE, RunPeaks, RunSizes};

use crate::nn::error::RunError;
use crate::tensor::{Element, Elements, Tensor};

/// What decides about the sizes of a run: the shape of each input, and the integers of inputs whose numbers are sizes.
pub(super) type Inputs = Vec<(Vec<u32>, Option<Vec<i64>>)>;

/// Why a run is refused.
pub(super) type Judgement = Result<(), String>;

/// Inputs with more integers are no sizes: no tensor has so many dimensions.
const MOST_INTEGERS: usize = 64;

/// Estimates the runs of one model.
pub(super) struct Estimates {
    /// The names of the model's inputs, in order.
    names: Vec<String>,
    /// Locked only while it is copied, because threads cannot share it.
    original: Mutex<RunSizes>,
    /// Copies that no estimate uses.
    idle: Mutex<Vec<RunSizes>>,
}

impl Estimates {
    /// `None` if the file is not an ONNX model.
    pub(super) fn new(bytes: &[u8], names: Vec<String>) -> Option<Self> {
        Some(Self { names, original: Mutex::new(RunSizes::of_model(bytes)?), idle: Mutex::default() })
    }

    /// The inputs whose integers decide about sizes.
    pub(super) fn sizing(&self) -> Vec<bool> {
        let sizes = self.original.lock().unwrap_or_else(PoisonError::into_inner);
        self.names.iter().map(|name| sizes.is_sizing(name)).collect()
    }

    pub(super) fn judge(&self, inputs: &Inputs) -> Result<Judgement, RunError> {
        let given: Vec<GivenInput> = self
            .names
            .iter()
            .zip(inputs)
            .map(|(name, (shape, elements))| GivenInput { name, shape, elements: elements.as_deref() })
            .collect();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let sizes = idle.unwrap_or_else(|| self.original.lock().unwrap_or_else(PoisonError::into_inner).clone());
        // A panic is logged and counted by the host. It is not the fault of the caller.
        let peaks = sizes.peaks(&given).map_err(|_| RunError::Panicked)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sizes);
        Ok(judge(peaks))
    }
}

/// The integers of a small input; `None` for a large one, for other numbers, and for strings. Those above the maximum of I64 are no sizes.
pub(super) fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    if tensor.ty.size().is_none_or(|size| tensor.data.len() > MOST_INTEGERS * size) {
        return None;
    }
    let elements = Elements::of(tensor);
    let integers = (0..elements.len()).map(|index| match elements.get(index) {
        Element::Integer(integer) => Some(i64::try_from(integer).unwrap_or(i64::MAX)),
        Element::Float(_) | Element::Double(_) => None,
    });
    integers.collect()
}

fn judge(peaks: RunPeaks) -> Judgement {
    if let Some((node, operator)) = peaks.empty {
        return Err(format!(
            "with inputs of these shapes, node `{node}` ({operator}) would get a value without elements, which the \
             backend cannot compute; send inputs with at least one element"
        ));
    }
    if let Some(largest) = peaks.value.filter(|largest| largest.elements > LARGEST_VALUE) {
        return Err(format!(
            "with these inputs, node `{}` ({}) would compute up to {} elements; at most {LARGEST_VALUE} are allowed in one \
             value; send smaller inputs",
            largest.node, largest.operator, largest.elements
        ));
    }
    if let Some(total) = peaks.total.filter(|total| total.elements > LARGEST_TOTAL) {
        return Err(format!(
            "with these inputs, the model would need up to {} elements in all values at node `{}` ({}); at most \
             {LARGEST_TOTAL} are allowed at the same time; send smaller inputs",
            total.elements, total.node, total.operator
        ));
    }
    match peaks.unfollowed {
        Some((node, operator)) => Err(format!(
            "with these inputs, the sizes at node `{node}` ({operator}) are not known, because loops in loops grow unevenly; \
             send smaller inputs, or export the model without nested loops"
        )),
        None => Ok(()),
    }
}
