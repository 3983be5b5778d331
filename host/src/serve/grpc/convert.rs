//! Converts gRPC messages from and to the types of `crate::serve::oip`.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_runtime::text::shortened;
use prost::Message as _;

use super::budget::Held;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::{
    InferParameter, InferStatistics, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelStatistics,
    StatisticDuration,
};
use crate::records::statistics;
use crate::serve::blocking;
use crate::serve::error::ServeError;
use crate::serve::oip::parameter::{Parameter, Parameters};
use crate::serve::oip::request::{MAX_PARAMETERS, MAX_TENSORS, Request, RequestedOutput, Response};
use crate::serve::oip::tensor::{Data, Datatype, Tensor, count, memory_of_binary, read_binary};

/// As [`request`], after its tensors are in the budget. Large messages are converted away from the async workers.
pub(super) async fn budgeted_request(
    message: ModelInferRequest,
    held: Option<&Held>,
) -> Result<(Request, bool), ServeError> {
    let (length, memory) = (message.encoded_len(), memory_of(&message));
    if let Some(held) = held.filter(|_| memory > 0) {
        held.grow(memory.saturating_add(length as u64)).await?;
    }
    blocking::run(length, move || request(message)).await
}

/// Converts a request. Also returns true if its tensors are in `contents` and not in `raw_input_contents`. The response
/// then uses `contents`, too.
pub(super) fn request(message: ModelInferRequest) -> Result<(Request, bool), ServeError> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents, .. } = message;
    if inputs.len() > MAX_TENSORS || outputs.len() > MAX_TENSORS {
        return Err(ServeError::invalid(format!(
            "a request may have at most {MAX_TENSORS} inputs and {MAX_TENSORS} outputs"
        )));
    }
    let typed = raw_input_contents.is_empty() && inputs.iter().any(|input| input.contents.is_some());
    if !typed && inputs.len() != raw_input_contents.len() {
        return Err(ServeError::invalid(format!(
            "there are {} inputs and {} `raw_input_contents`; each input needs one, or its own `contents`",
            inputs.len(),
            raw_input_contents.len()
        )));
    }
    let mut raw = raw_input_contents.into_iter();
    let inputs = inputs.into_iter().map(|input| tensor(input, raw.next())).collect::<Result<_, _>>()?;
    let outputs = outputs
        .into_iter()
        .map(|wanted| Ok(RequestedOutput { name: wanted.name, parameters: of_parameters(wanted.parameters)? }))
        .collect::<Result<_, ServeError>>()?;
    let id = Some(id).filter(|id| !id.is_empty());
    Ok((Request { id, parameters: of_parameters(parameters)?, inputs, outputs }, typed))
}

/// Bytes in memory that the tensors of a message take besides its own bytes: the decoded elements of `contents` and those
/// that are converted from them, and the lists of BYTES elements.
fn memory_of(message: &ModelInferRequest) -> u64 {
    let inputs = message.inputs.iter().enumerate().map(|(index, input)| {
        let raw = message.raw_input_contents.get(index).map_or(0, |raw| {
            let sizes: Result<Vec<u64>, _> = input.shape.iter().map(|&size| u64::try_from(size)).collect();
            let Ok(datatype) = input.datatype.parse() else { return 0 };
            sizes.map_or(0, |shape| memory_of_binary(datatype, &shape, raw.len()))
        });
        let typed = input.contents.as_ref().map_or(0, |contents| {
            fn bytes<T>(list: &Vec<T>) -> u64 {
                ((list.capacity() + list.len()) * size_of::<T>()) as u64
            }
            bytes(&contents.bool_contents)
                + bytes(&contents.int_contents)
                + bytes(&contents.int64_contents)
                + bytes(&contents.uint_contents)
                + bytes(&contents.uint64_contents)
                + bytes(&contents.fp32_contents)
                + bytes(&contents.fp64_contents)
                + bytes(&contents.bytes_contents)
        });
        raw + typed
    });
    inputs.sum()
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, ServeError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let told = |reason: String| ServeError::invalid(format!("input `{}`: {reason}", shortened(&name)));
    let datatype: Datatype = datatype.parse().map_err(told)?;
    let sizes = shape.iter().map(|&size| u64::try_from(size)).collect::<Result<Vec<_>, _>>();
    let shape = sizes.map_err(|_| told(format!("the shape {shape:?} has a negative size")))?;
    let data = match (raw, contents) {
        (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
            return Err(told("it has both `contents` and `raw_input_contents`; send only one".to_owned()));
        }
        (Some(raw), _) => read_binary(datatype, &shape, raw).map_err(told)?,
        (None, contents) => {
            let count = count(&shape, datatype).map_err(told)?;
            typed(datatype, count, contents.unwrap_or_default()).map_err(told)?
        }
    };
    Ok(Tensor { name, datatype, shape, parameters: of_parameters(parameters)?, data })
}

/// Reads the elements from the field of their datatype.
fn typed(datatype: Datatype, count: u64, contents: InferTensorContents) -> Result<Data, String> {
    let check = |found: usize| {
        if found as u64 == count {
            return Ok(());
        }
        Err(format!("the shape has {count} elements, but the field of {datatype} in `contents` has {found}"))
    };
    fn numbers<T: Copy, const SIZE: usize>(
        values: &[T],
        bytes: impl Fn(T) -> Option<[u8; SIZE]>,
        datatype: Datatype,
    ) -> Result<Data, String> {
        let mut data = BytesMut::with_capacity(values.len() * SIZE);
        for value in values {
            data.put_slice(&bytes(*value).ok_or_else(|| format!("a value is out of range for {datatype}"))?);
        }
        Ok(Data::Fixed(data.freeze()))
    }
    let InferTensorContents {
        bool_contents: bools,
        int_contents: ints,
        int64_contents: longs,
        uint_contents: uints,
        uint64_contents: ulongs,
        fp32_contents: floats,
        fp64_contents: doubles,
        bytes_contents: elements,
    } = contents;
    check(match datatype {
        Datatype::Bool => bools.len(),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => ints.len(),
        Datatype::Int64 => longs.len(),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => uints.len(),
        Datatype::Uint64 => ulongs.len(),
        Datatype::Fp32 => floats.len(),
        Datatype::Fp64 => doubles.len(),
        Datatype::Bytes => elements.len(),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(format!("{datatype} has no field in `contents`; send it in `raw_input_contents`"));
        }
    })?;
    match datatype {
        Datatype::Bool => numbers(&bools, |value| Some([u8::from(value)]), datatype),
        Datatype::Int8 => numbers(&ints, |value| i8::try_from(value).ok().map(i8::to_le_bytes), datatype),
        Datatype::Int16 => numbers(&ints, |value| i16::try_from(value).ok().map(i16::to_le_bytes), datatype),
        Datatype::Int32 => numbers(&ints, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Int64 => numbers(&longs, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Uint8 => numbers(&uints, |value| u8::try_from(value).ok().map(u8::to_le_bytes), datatype),
        Datatype::Uint16 => numbers(&uints, |value| u16::try_from(value).ok().map(u16::to_le_bytes), datatype),
        Datatype::Uint32 => numbers(&uints, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Uint64 => numbers(&ulongs, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Fp32 => numbers(&floats, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Fp64 => numbers(&doubles, |value| Some(value.to_le_bytes()), datatype),
        Datatype::Bytes => Ok(Data::Elements(elements)),
        Datatype::Fp16 | Datatype::Bf16 => unreachable!("refused above"),
    }
}

fn of_parameters(parameters: HashMap<String, InferParameter>) -> Result<Parameters, ServeError> {
    if parameters.len() > MAX_PARAMETERS {
        return Err(ServeError::invalid(format!("there are more than {MAX_PARAMETERS} parameters")));
    }
    let value = |name: &str, parameter: InferParameter| match parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Ok(Parameter::Bool(value)),
        Some(ParameterChoice::Int64Param(value)) => Ok(Parameter::Integer(value.into())),
        Some(ParameterChoice::Uint64Param(value)) => Ok(Parameter::Integer(value.into())),
        Some(ParameterChoice::DoubleParam(value)) => Ok(Parameter::Number(value)),
        Some(ParameterChoice::StringParam(value)) => Ok(Parameter::Text(value)),
        None => Err(ServeError::invalid(format!("the parameter `{}` has no value", shortened(name)))),
    };
    parameters.into_iter().map(|(name, parameter)| Ok((name.clone(), value(&name, parameter)?))).collect()
}

fn to_parameters(parameters: Parameters) -> HashMap<String, InferParameter> {
    let choice = |parameter| match parameter {
        Parameter::Bool(value) => ParameterChoice::BoolParam(value),
        Parameter::Integer(value) => match i64::try_from(value) {
            Ok(value) => ParameterChoice::Int64Param(value),
            Err(_) => ParameterChoice::Uint64Param(u64::try_from(value).unwrap_or(u64::MAX)),
        },
        Parameter::Number(value) => ParameterChoice::DoubleParam(value),
        Parameter::Text(value) => ParameterChoice::StringParam(value),
    };
    let parameters = parameters.into_iter();
    parameters.map(|(name, value)| (name, InferParameter { parameter_choice: Some(choice(value)) })).collect()
}

/// Converts a response. The outputs are in `contents` if `typed` is true and every output has a field there. Otherwise
/// all outputs are in `raw_output_contents`.
pub(super) fn response(response: Response, typed: bool) -> ModelInferResponse {
    let Response { model_name, model_version, id, parameters, outputs } = response;
    let halves = |tensor: &Tensor| matches!(tensor.datatype, Datatype::Fp16 | Datatype::Bf16);
    let typed = typed && !outputs.iter().any(halves);
    let mut raw_output_contents = Vec::new();
    let outputs = outputs
        .into_iter()
        .map(|tensor| {
            let contents = if typed {
                Some(contents(&tensor))
            } else {
                raw_output_contents.push(tensor.data.to_binary());
                None
            };
            let Tensor { name, datatype, shape, parameters, data: _ } = tensor;
            InferOutputTensor {
                name,
                datatype: datatype.as_str().to_owned(),
                shape: shape.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
                parameters: to_parameters(parameters),
                contents,
            }
        })
        .collect();
    let parameters = to_parameters(parameters);
    ModelInferResponse {
        model_name,
        model_version,
        id: id.unwrap_or_default(),
        parameters,
        outputs,
        raw_output_contents,
    }
}

/// Writes the elements to the field of their datatype.
fn contents(tensor: &Tensor) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    let bytes = match &tensor.data {
        Data::Fixed(bytes) => bytes,
        Data::Elements(elements) => {
            contents.bytes_contents.clone_from(elements);
            return contents;
        }
    };
    macro_rules! numbers {
        ($ty:ty) => {
            bytes
                .as_chunks::<{ size_of::<$ty>() }>()
                .0
                .iter()
                .map(|number| <$ty>::from_le_bytes(*number).into())
                .collect()
        };
    }
    match tensor.datatype {
        Datatype::Bool => contents.bool_contents = bytes.iter().map(|byte| *byte != 0).collect(),
        Datatype::Uint8 => contents.uint_contents = numbers!(u8),
        Datatype::Uint16 => contents.uint_contents = numbers!(u16),
        Datatype::Uint32 => contents.uint_contents = numbers!(u32),
        Datatype::Uint64 => contents.uint64_contents = numbers!(u64),
        Datatype::Int8 => contents.int_contents = numbers!(i8),
        Datatype::Int16 => contents.int_contents = numbers!(i16),
        Datatype::Int32 => contents.int_contents = numbers!(i32),
        Datatype::Int64 => contents.int64_contents = numbers!(i64),
        Datatype::Fp32 => contents.fp32_contents = numbers!(f32),
        Datatype::Fp64 => contents.fp64_contents = numbers!(f64),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => {
            unreachable!("FP16 and BF16 are sent raw, BYTES are handled above")
        }
    }
    contents
}

/// Converts the statistics of a model version.
pub(super) fn statistics(statistics: statistics::ModelStatistics) -> ModelStatistics {
    let statistics::ModelStatistics {
        name,
        version,
        last_inference,
        inference_count,
        execution_count,
        inference_stats,
        ..
    } = statistics;
    let duration = |counted: statistics::Counted| Some(StatisticDuration { count: counted.count, ns: counted.ns });
    let statistics::Times { success, fail, queue, compute_input, compute_infer, compute_output, cache_hit, cache_miss } =
        inference_stats;
    let inference_stats = Some(InferStatistics {
        success: duration(success),
        fail: duration(fail),
        queue: duration(queue),
        compute_input: duration(compute_input),
        compute_infer: duration(compute_infer),
        compute_output: duration(compute_output),
        cache_hit: duration(cache_hit),
        cache_miss: duration(cache_miss),
    });
    ModelStatistics { name, version, last_inference, inference_count, execution_count, inference_stats }
}
