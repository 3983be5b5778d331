//! What is known about the values of a model without running it.

use std::collections::HashMap;

use rten_onnx::onnx::{DataType, TensorProto, ValueInfoProto};

use crate::tensor;
use crate::zeros::Zeros;

/// Constants with at most this many elements are kept, because rules depend on them.
pub(crate) const KEPT_ELEMENTS: usize = 64;

/// Lists of sizes with more elements are ignored: no tensor has so many dimensions.
pub(crate) const MOST_DIMENSIONS: usize = 64;

/// What is known about a value.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// The element type that the file declares or that follows from the operators.
    pub(crate) ty: Option<DataType>,
    /// The number of dimensions.
    pub(crate) rank: Option<usize>,
    /// The size of each dimension, if the rank is known; `None` for a size that is not known.
    pub(crate) sizes: Option<Vec<Option<i64>>>,
    /// The elements of a small constant: integers or numbers.
    pub(crate) constant: Option<Vec<f64>>,
    /// True for a constant of any size.
    pub(crate) is_constant: bool,
    /// True for a constant that has elements.
    pub(crate) is_filled: bool,
    /// The largest absolute value of an element; infinite if it depends on the input.
    pub(crate) bound: f64,
    /// True if no element is negative.
    pub(crate) never_negative: bool,
    /// True for an integer constant with an element that 32 bits cannot represent.
    pub(crate) exceeds_32_bits: bool,
    /// True if an element can be NaN although the inputs of the model are finite.
    pub(crate) may_be_nan: bool,
    /// True if an element can be infinite although the inputs of the model are finite.
    pub(crate) may_be_infinite: bool,
    /// What is known about its zeros.
    pub(crate) zeros: Zeros,
    /// True if numbers of a request decide how many elements there are.
    pub(crate) is_dependent: bool,
    /// True if the engine's numbers can have more digits than the FLOAT16 that the model declares.
    pub(crate) is_inexact_half: bool,
    /// True if the elements depend on numbers of a request, not only on sizes.
    pub(crate) is_data: bool,
}

impl Info {
    /// Nothing is known.
    pub(crate) fn unknown() -> Info {
        Info {
            ty: None,
            rank: None,
            sizes: None,
            constant: None,
            is_constant: false,
            is_filled: false,
            bound: f64::INFINITY,
            never_negative: false,
            exceeds_32_bits: false,
            may_be_nan: true,
            may_be_infinite: true,
            zeros: Zeros::Unknown,
            is_dependent: false,
            is_inexact_half: false,
            is_data: true,
        }
    }

    pub(crate) fn of_type(ty: Option<DataType>, rank: Option<usize>) -> Info {
        Info { ty, rank, ..Info::unknown() }
    }

    /// An input, an output or another declared value.
    pub(crate) fn declared(value: &ValueInfoProto) -> Info {
        let Some(tensor) = value.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()) else { return Info::unknown() };
        let sizes: Option<Vec<_>> = tensor
            .shape
            .as_ref()
            .map(|shape| shape.dim.iter().map(|size| size.dim_value.filter(|&size| size >= 0)).collect());
        Info { ty: tensor.elem_type, rank: sizes.as_ref().map(Vec::len), sizes, ..Info::unknown() }
    }

    /// A constant.
    pub(crate) fn constant(tensor: &TensorProto) -> Info {
        let sizes = tensor.dims.iter().map(|&size| Some(size)).collect();
        let mut info =
            Info { ty: tensor.data_type, rank: Some(tensor.dims.len()), sizes: Some(sizes), ..Info::unknown() };
        info.is_constant = true;
        // Of elements in another file.
        info.zeros = Zeros::Exact;
        info.is_data = false;
        info.may_be_nan = tensor::contains(tensor, f32::is_nan);
        info.may_be_infinite = tensor::contains(tensor, f32::is_infinite);
        let whole = tensor::integers(tensor);
        info.exceeds_32_bits =
            whole.as_ref().is_some_and(|values| values.iter().any(|&value| i32::try_from(value).is_err()));
        let values = whole.map(|values| values.into_iter().map(|value| value as f64).collect());
        let values: Option<Vec<f64>> = values.or_else(|| tensor::floats(tensor));
        if let Some(values) = values {
            info.never_negative = values.iter().all(|&value| value >= 0.0);
            info.zeros = Zeros::of_constant(&values);
            info.bound = values.iter().fold(0.0, |bound: f64, value| bound.max(value.abs()));
            info.constant = (values.len() <= KEPT_ELEMENTS).then_some(values);
        }
        info
    }

    /// An input of the model, whose numbers the caller of the engine checks.
    pub(crate) fn checked_input(value: &ValueInfoProto) -> Info {
        let info = Info::declared(value);
        let never_negative = matches!(info.ty, Some(DataType::UINT8 | DataType::BOOL));
        Info { may_be_nan: false, may_be_infinite: false, never_negative, zeros: Zeros::Exact, ..info }
    }

    /// An input of a subgraph, whose shape and numbers change while a loop runs. `given` is what the loop gives it, of all
    /// rounds.
    pub(crate) fn of_body(value: &ValueInfoProto, given: Option<&Info>) -> Info {
        let info = Info::declared(value);
        let is_dependent = given.is_some_and(|given| given.is_dependent);
        let ty = info.ty.or_else(|| given?.ty);
        // A round of a loop can return such numbers.
        let is_fraction = ty.is_some_and(|ty| !is_whole(ty));
        let is_inexact_half =
            ty == Some(DataType::FLOAT16) || is_fraction && given.is_some_and(|given| given.is_inexact_half);
        Info { ty, sizes: None, is_dependent, is_inexact_half, ..info }
    }

    /// The number of dimensions that a value states, if it is a list of sizes.
    pub(crate) fn stated_rank(&self) -> Option<usize> {
        self.size(0).and_then(|length| usize::try_from(length).ok()).filter(|&rank| rank <= MOST_DIMENSIONS)
    }

    /// The size of one dimension; a negative `axis` counts from the last.
    pub(crate) fn size(&self, axis: i64) -> Option<i64> {
        let sizes = self.sizes.as_ref()?;
        let axis = if axis < 0 { axis + sizes.len() as i64 } else { axis };
        *sizes.get(usize::try_from(axis).ok()?)?
    }
}

/// The values that a node can use, by name.
#[derive(Clone, Default)]
pub(crate) struct Values {
    known: HashMap<String, Info>,
}

impl Values {
    /// Adds or replaces a value.
    pub(crate) fn insert(&mut self, name: &str, info: Info) {
        self.known.insert(name.to_owned(), info);
    }

    /// What is known about a value.
    pub(crate) fn get(&self, name: &str) -> Option<&Info> {
        self.known.get(name)
    }

    /// Adds an output of a node. The type and the number of dimensions that the file declares complete what the operator
    /// says; declared sizes may be out of date. Returns the number of dimensions if only the declaration says it.
    pub(crate) fn define(&mut self, name: &str, mut info: Info, declared: Option<&Info>) -> Option<usize> {
        let mut claimed = None;
        if let Some(declared) = declared {
            info.ty = info.ty.or(declared.ty);
            if info.rank.is_none() {
                info.rank = declared.rank.filter(|&rank| rank <= MOST_DIMENSIONS);
                claimed = info.rank;
            }
        }
        if info.ty.is_some_and(is_whole) {
            (info.may_be_nan, info.may_be_infinite) = (false, false);
            info.zeros = info.zeros.min(Zeros::Positive);
        }
        info.never_negative |= matches!(info.ty, Some(DataType::UINT8 | DataType::BOOL));
        self.insert(name, info);
        claimed
    }
}

/// True for types of integers and BOOL.
fn is_whole(ty: DataType) -> bool {
    !matches!(ty, DataType::FLOAT | DataType::FLOAT16 | DataType::DOUBLE)
}
