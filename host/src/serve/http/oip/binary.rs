//! The protocol's binary tensor data extension: a body of JSON, followed by the bytes of tensors.

use std::fmt;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName};
use plimsoll_runtime::text::shortened;

use super::json::{
    BoundedList, PART, WireInput, WireRequest, memory_of_elements, memory_of_parameters, read_elements, read_parameters,
};
use crate::base::object::Object;
use crate::serve::admission::BodyBytes;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::headers::number;
use crate::serve::oip::binary_form::{memory_of_binary, read_binary};
use crate::serve::oip::datatype::Datatype;
use crate::serve::oip::json_outputs::BINARY_OUTPUT;
use crate::serve::oip::model::{IMAGE, Model, ModelPart};
use crate::serve::oip::parameter::{Parameter, Parameters};
use crate::serve::oip::request::{BASE64, Request, RequestedOutput, check_input, invalid_input};
use crate::serve::oip::tensor::{Data, Tensor, count};

/// The header with the length of the JSON at the start of the body, in bytes.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The parameter with the size of a binary input, in bytes.
const SIZE: &str = "binary_data_size";

/// Returns the length of the JSON at the start of the body, in bytes, or `None` if the whole body is JSON.
pub(super) fn header_length(headers: &HeaderMap, body: &Bytes) -> Result<Option<usize>, ServeError> {
    let mut values = headers.get_all(HEADER_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ServeError::invalid(format!("`{HEADER_LENGTH}` is given twice; send it once")));
    }
    let length = value.to_str().ok().and_then(|text| number(text.trim()));
    let wrong = || {
        let given = shortened(&String::from_utf8_lossy(value.as_bytes()));
        ServeError::invalid(format!(
            "`{HEADER_LENGTH}: {given}` must be a number from 0 to the {} bytes of the body",
            body.len()
        ))
    };
    let length = length.and_then(|length| usize::try_from(length).ok()).ok_or_else(wrong)?;
    if length > body.len() { Err(wrong()) } else { Ok(Some(length)) }
}

/// Why a request was not read.
pub(super) enum ReadError {
    /// It is refused.
    Refused(ServeError),
    /// Its tensors need this reservation, which is not free at once.
    NeedsMemory(u64),
}

impl From<ServeError> for ReadError {
    fn from(error: ServeError) -> Self {
        Self::Refused(error)
    }
}

/// Reads a request: its JSON and the binary part that follows it. `limit`: maximum size of its tensors, in bytes.
/// `reserved` grows by the memory of the tensors and parameters before they are read. Afterwards it has the memory that
/// the request still takes: also that of the strings that are copied for a stage, if the `part` of the model takes tensors.
/// `id` becomes the id of the request as soon as it is known, also if the request is refused.
pub(super) fn read(
    mut body: Bytes,
    header: Option<usize>,
    limit: u64,
    part: ModelPart,
    reserved: &mut BodyBytes,
    id: &mut Option<String>,
) -> Result<Request, ReadError> {
    let received = body.len() as u64;
    let tail = header.map_or_else(Bytes::new, |length| body.split_off(length));
    let Object(wire) = serde_json::from_slice::<Object<WireRequest<'_>>>(&body)
        .map_err(|error| ServeError::invalid(format!("the body is not a valid inference request in JSON: {error}")))?;
    id.clone_from(&wire.id);
    let memory = memory_of(&wire, &tail) + memory_of_copies(&wire, &tail, part);
    let all = received.saturating_add(memory);
    if reserved.try_grow(all).is_err() {
        return Err(ReadError::NeedsMemory(all));
    }
    // The JSON is not needed after this function; tensors share the binary part.
    let stays = if tail.is_empty() { memory } else { all };
    let mut reader = InputReader { tail, left: limit, limit };
    let BoundedList(inputs) = wire.inputs;
    let inputs = inputs.into_iter().map(|Object(input)| reader.input(input)).collect::<Result<_, ServeError>>()?;
    if !reader.tail.is_empty() {
        let left = reader.tail.len();
        return Err(ReadError::Refused(ServeError::invalid(format!(
            "the body has {left} bytes after the last binary input; check each `{SIZE}`"
        ))));
    }
    let outputs = wire.outputs.unwrap_or_default().0;
    let outputs = outputs
        .into_iter()
        .map(|Object(wanted)| match read_parameters(wanted.parameters) {
            Ok(parameters) => Ok(RequestedOutput { name: wanted.name, parameters }),
            Err(error) => {
                let output = shortened(&wanted.name);
                Err(ServeError::invalid(format!("output `{output}`: its parameters are not valid: {error}")))
            }
        })
        .collect::<Result<_, ServeError>>()?;
    let parameters = read_parameters(wire.parameters)
        .map_err(|error| ServeError::invalid(format!("the parameters of the request are not valid: {error}")))?;
    reserved.shrink(stays);
    Ok(Request { id: wire.id, parameters, inputs, outputs, binary: None })
}

/// Maximum bytes in memory of what is made from the JSON: the tensors, and the names and parameters of all parts.
fn memory_of(wire: &WireRequest<'_>, tail: &Bytes) -> u64 {
    let inputs = wire.inputs.0.iter().map(|Object(input)| {
        let elements = input.datatype.parse().map_or(0, |datatype: Datatype| match input.data {
            Some(data) => count(&input.shape.0, datatype).map_or(0, |count| memory_of_elements(data, datatype, count)),
            None => memory_of_binary(datatype, &input.shape.0, tail.len()),
        });
        PART + input.name.len() as u64 + elements + memory_of_parameters(input.parameters)
    });
    let outputs = wire.outputs.iter().flat_map(|outputs| &outputs.0);
    let outputs =
        outputs.map(|Object(wanted)| PART + wanted.name.len() as u64 + memory_of_parameters(wanted.parameters));
    let id = wire.id.as_deref().map_or(0, str::len) as u64;
    inputs.chain(outputs).sum::<u64>() + id + memory_of_parameters(wire.parameters)
}

/// Maximum bytes of the copies of strings for a stage. A pipeline takes strings as bodies, which share the memory of the
/// request.
fn memory_of_copies(wire: &WireRequest<'_>, tail: &Bytes, part: ModelPart) -> u64 {
    let strings = wire.inputs.0.iter().filter(|Object(input)| input.datatype == Datatype::Bytes.as_str());
    match part {
        ModelPart::Whole => 0,
        ModelPart::Infer if strings.clone().next().is_none() => 0,
        // An empty string has three characters in JSON and four bytes as an element.
        ModelPart::Infer => {
            tail.len() as u64
                + strings.map(|Object(input)| input.data.map_or(0, |it| 2 * it.get().len() as u64)).sum::<u64>()
        }
    }
}

/// Reads the inputs of a request, in order. Each takes its bytes from the start of the rest of the binary part.
struct InputReader {
    /// The rest of the binary part.
    tail: Bytes,
    /// Bytes that further tensors may have.
    left: u64,
    /// Maximum bytes of all tensors.
    limit: u64,
}

impl InputReader {
    fn input(&mut self, input: WireInput<'_>) -> Result<Tensor, ServeError> {
        let WireInput { name, shape: BoundedList(shape), datatype, parameters, data } = input;
        let invalid = |reason: &dyn fmt::Display| invalid_input(&name, reason);
        let parameters = read_parameters(parameters)
            .map_err(|error| invalid(&format_args!("its parameters are not valid: {error}")))?;
        check_input(&name, parameters.keys())?;
        let datatype = datatype.parse::<Datatype>().map_err(|error| invalid(&error))?;
        let data = match (parameters.get(SIZE), data) {
            (Some(_), Some(_)) => {
                let reason = format_args!("it has both `data` and the parameter `{SIZE}`; remove one of them");
                return Err(invalid(&reason));
            }
            (None, None) => {
                return Err(invalid(&format_args!("it has neither `data` nor the parameter `{SIZE}`")));
            }
            (Some(size), None) => {
                let left = self.tail.len();
                let size = size.as_integer().and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= left);
                let size = size.ok_or_else(|| {
                    let reason =
                        format_args!("its `{SIZE}` must be a number up to the {left} bytes that remain in the body");
                    invalid(&reason)
                })?;
                read_binary(datatype, &shape, self.tail.split_to(size)).map_err(|error| invalid(&error))?
            }
            (None, Some(data)) => {
                let count = count(&shape, datatype).map_err(|error| invalid(&error))?;
                self.take(count * datatype.size().unwrap_or(0))?;
                let base64 = parameters.get("content_type").and_then(|value| value.as_text()) == Some(BASE64);
                read_elements(data, datatype, &shape, count, base64).map_err(|error| invalid(&error))?
            }
        };
        Ok(Tensor { name, datatype, shape, parameters, data })
    }

    /// Checks the size of the tensors against the limit, too, because a number can be shorter in JSON than in a tensor.
    fn take(&mut self, bytes: u64) -> Result<(), ServeError> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let detail = format!("the tensors have more than {} bytes (`server.max_body`)", self.limit);
            ServeError::new(ErrorKind::BodyTooLarge, detail)
        })?;
        Ok(())
    }
}

/// Makes the request for a body that consists only of the bytes of the model's only input.
pub(super) fn raw(body: Bytes, model: &Model) -> Result<Request, ServeError> {
    let input = match model.part {
        ModelPart::Whole => Tensor {
            name: IMAGE.to_owned(),
            datatype: Datatype::Bytes,
            shape: vec![1],
            parameters: Parameters::new(),
            data: Data::Elements(vec![body]),
        },
        ModelPart::Infer => raw_tensor(body, model)?,
    };
    let parameters = Parameters::from([(BINARY_OUTPUT.to_owned(), Parameter::Bool(true))]);
    Ok(Request { parameters, inputs: vec![input], ..Request::default() })
}

fn raw_tensor(body: Bytes, model: &Model) -> Result<Tensor, ServeError> {
    let name = &model.name;
    let stage = model.stage(&model.pipeline.default_chip).ok();
    let inputs = stage.and_then(|stage| stage.signatures()).map_or(&[][..], |(inputs, _)| inputs);
    let [input] = inputs else {
        return Err(ServeError::invalid(format!(
            "a raw binary request needs a model with one input, but `{name}` has {}; send JSON with `{SIZE}`",
            inputs.len()
        )));
    };
    let (Some(ty), Some(shape)) = (input.types.first(), &input.shape) else {
        return Err(ServeError::invalid(format!(
            "the type and shape of the input of model `{name}` are not known; send JSON with `{SIZE}`"
        )));
    };
    let datatype = Datatype::from_nn(*ty);
    if datatype == Datatype::Bytes {
        return Err(ServeError::invalid(format!(
            "the input of model `{name}` has strings; send JSON, or JSON with `{SIZE}`"
        )));
    }
    let fixed: u64 = shape.iter().flatten().map(|size| u64::from(*size)).product();
    let row = fixed * datatype.size().unwrap_or(1);
    let free = shape.iter().filter(|size| size.is_none()).count();
    if free > 1 {
        return Err(ServeError::invalid(format!(
            "the input of model `{name}` has {free} free dimensions, but a raw binary request supports one; send JSON \
             with `{SIZE}`"
        )));
    }
    let rows = if free == 0 { 1 } else { (body.len() as u64).checked_div(row).unwrap_or(0) };
    let shape: Vec<u64> = shape.iter().map(|size| size.map_or(rows, u64::from)).collect();
    let data = read_binary(datatype, &shape, body)
        .map_err(|reason| ServeError::invalid(format!("input `{}`: {reason}", input.name)))?;
    Ok(Tensor { name: input.name.clone(), datatype, shape, parameters: Parameters::new(), data })
}
