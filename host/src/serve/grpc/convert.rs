//! Converts gRPC messages from and to the types of `crate::serve::oip`.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use plimsoll_runtime::text::shortened;
use prost::Message as _;

use super::contents;
use super::inference::infer_parameter::ParameterChoice;
use super::inference::model_infer_request::InferInputTensor;
use super::inference::model_infer_response::InferOutputTensor;
use super::inference::{
    InferParameter, InferStatistics, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelStatistics,
    StatisticDuration,
};
use super::reservation::CallReservation;
use crate::records::statistics;
use crate::serve::blocking;
use crate::serve::error::ServeError;
use crate::serve::oip::binary_form::{memory_of_binary, read_binary, write_binary};
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::model::ModelPart;
use crate::serve::oip::parameter::{Parameter, Parameters};
use crate::serve::oip::request::{
    MAX_PARAMETERS, MAX_TENSORS, Request, RequestedOutput, Response, check_input, invalid_input,
};
use crate::serve::oip::tensor::{Tensor, count};

/// As [`request`], after its tensors are in the budget. Large messages are converted away from the async workers.
pub(super) async fn budgeted_request(
    message: ModelInferRequest,
    part: ModelPart,
    held: Option<&CallReservation>,
) -> Result<(Request, bool), ServeError> {
    let (length, memory) = (message.encoded_len(), memory_of(&message) + memory_of_copies(&message, part));
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
    for input in &inputs {
        check_input(&input.name, input.parameters.keys())?;
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
        .map(|wanted| Ok(RequestedOutput { name: wanted.name, parameters: read_parameters(wanted.parameters)? }))
        .collect::<Result<_, ServeError>>()?;
    let id = Some(id).filter(|id| !id.is_empty());
    Ok((Request { id, parameters: read_parameters(parameters)?, inputs, outputs, binary: None }, typed))
}

/// Bytes that the tensors need in addition to the message: the decoded elements of `contents`, the converted copies,
/// and the lists of BYTES elements.
fn memory_of(message: &ModelInferRequest) -> u64 {
    let inputs = message.inputs.iter().enumerate().map(|(index, input)| {
        let raw = message.raw_input_contents.get(index).map_or(0, |raw| {
            let sizes: Result<Vec<u64>, _> = input.shape.iter().map(|&size| u64::try_from(size)).collect();
            let Ok(datatype) = input.datatype.parse() else { return 0 };
            sizes.map_or(0, |shape| memory_of_binary(datatype, &shape, raw.len()))
        });
        raw + input.contents.as_ref().map_or(0, contents::memory_of)
    });
    inputs.sum()
}

/// Bytes of the copies of strings for a stage. A pipeline takes strings as bodies, which share the memory of the message.
fn memory_of_copies(message: &ModelInferRequest, part: ModelPart) -> u64 {
    let inputs = message.inputs.iter().enumerate().filter(|(_, input)| input.datatype == Datatype::Bytes.as_str());
    let of_input = |(index, input): (usize, &InferInputTensor)| {
        let raw = message.raw_input_contents.get(index).map_or(0, Bytes::len);
        let typed = input.contents.iter().flat_map(|contents| &contents.bytes_contents).map(|string| string.len() + 4);
        (raw + typed.sum::<usize>()) as u64
    };
    match part {
        ModelPart::Whole => 0,
        ModelPart::Infer => inputs.map(of_input).sum(),
    }
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, ServeError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let invalid = |reason: &dyn fmt::Display| invalid_input(&name, reason);
    let datatype = datatype.parse::<Datatype>().map_err(|error| invalid(&error))?;
    let sizes = shape.iter().map(|&size| u64::try_from(size)).collect::<Result<Vec<_>, _>>();
    let shape = sizes.map_err(|_| invalid(&format_args!("the shape {shape:?} has a negative size")))?;
    let data = match (raw, contents) {
        (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
            return Err(invalid(&"it has both `contents` and `raw_input_contents`; send only one"));
        }
        (Some(raw), _) => read_binary(datatype, &shape, raw).map_err(|error| invalid(&error))?,
        (None, contents) => {
            let count = count(&shape, datatype).map_err(|error| invalid(&error))?;
            contents::read(datatype, count, contents.unwrap_or_default()).map_err(|error| invalid(&error))?
        }
    };
    Ok(Tensor { name, datatype, shape, parameters: read_parameters(parameters)?, data })
}

fn read_parameters(parameters: HashMap<String, InferParameter>) -> Result<Parameters, ServeError> {
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

fn write_parameters(parameters: Parameters) -> HashMap<String, InferParameter> {
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
                Some(contents::write(&tensor))
            } else {
                raw_output_contents.push(write_binary(&tensor.data));
                None
            };
            let Tensor { name, datatype, shape, parameters, data: _ } = tensor;
            InferOutputTensor {
                name,
                datatype: datatype.as_str().to_owned(),
                shape: shape.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect(),
                parameters: write_parameters(parameters),
                contents,
            }
        })
        .collect();
    let parameters = write_parameters(parameters);
    ModelInferResponse {
        model_name,
        model_version,
        id: id.unwrap_or_default(),
        parameters,
        outputs,
        raw_output_contents,
    }
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
