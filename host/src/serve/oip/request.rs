//! Requests and responses of the protocol, independent of the transport.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use plimsoll_runtime::text::shortened;

use super::datatype::Datatype;
use super::json_outputs::BinaryOutputs;
use super::parameter::Parameters;
use super::tensor::{Data, Tensor};
use crate::serve::error::ServeError;

/// Maximum inputs of a request, and maximum outputs.
pub const MAX_TENSORS: usize = 1_024;
/// Maximum parameters of a request, and of one of its tensors.
pub const MAX_PARAMETERS: usize = 256;

/// The value of an input's parameter `content_type` that marks its JSON strings as base64 of the bytes.
pub const BASE64: &str = "base64";

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// The id; the response repeats it.
    pub id: Option<String>,
    /// The parameters of the whole request.
    pub parameters: Parameters,
    /// The inputs, in the caller's order.
    pub inputs: Vec<Tensor>,
    /// The requested outputs. All outputs if the list is empty.
    pub outputs: Vec<RequestedOutput>,
    /// The outputs that are wanted as binary data, if the others are written as JSON; `None` if none is.
    pub binary: Option<BinaryOutputs>,
}

/// A requested output.
#[derive(Debug, Clone)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The model's name.
    pub model_name: String,
    /// The version that served the request.
    pub model_version: String,
    /// The request's id.
    pub id: Option<String>,
    /// The parameters of the whole response.
    pub parameters: Parameters,
    /// The outputs.
    pub outputs: Vec<Tensor>,
}

impl Response {
    /// Bytes of all outputs.
    pub fn bytes(&self) -> usize {
        self.outputs.iter().map(|output| output.data.bytes()).sum()
    }
}

/// The error for an input that is not valid.
pub fn invalid_input(name: &str, reason: &dyn fmt::Display) -> ServeError {
    ServeError::invalid(format!("input `{}`: {reason}", shortened(name)))
}

/// Checks that the model has all requested outputs.
pub(super) fn check_outputs(known: &[&str], requested: &[RequestedOutput], model: &str) -> Result<(), ServeError> {
    match requested.iter().find(|output| !known.contains(&output.name.as_str())) {
        None => Ok(()),
        Some(other) => {
            let (other, known) = (shortened(&other.name), known.join("`, `"));
            Err(ServeError::invalid(format!("model `{model}` has no output `{other}`; its outputs are `{known}`")))
        }
    }
}

/// Selects the requested outputs, in the requested order.
pub(super) fn select(
    mut outputs: Vec<Tensor>,
    requested: &[RequestedOutput],
    model: &str,
) -> Result<Vec<Tensor>, ServeError> {
    if requested.is_empty() {
        return Ok(outputs);
    }
    let known: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
    check_outputs(&known, requested, model)?;
    requested
        .iter()
        .map(|wanted| {
            let at = outputs.iter().position(|output| output.name == wanted.name);
            let at = at.ok_or_else(|| {
                ServeError::invalid(format!("the output `{}` is requested twice", shortened(&wanted.name)))
            })?;
            Ok(outputs.swap_remove(at))
        })
        .collect()
}

/// The parameter with which a client announces that the data of a tensor are in memory that it shares with the server.
const SHARED_MEMORY: &str = "shared_memory_region";

/// Checks that the data of an input are in the request, by the names of its parameters.
///
/// # Errors
/// If they are in shared memory, which is not supported.
pub fn check_input<'a>(name: &str, mut parameters: impl Iterator<Item = &'a String>) -> Result<(), ServeError> {
    if parameters.any(|parameter| parameter == SHARED_MEMORY) {
        let reason =
            format_args!("parameter `{SHARED_MEMORY}`: shared memory is not supported; send the data in the request");
        return Err(invalid_input(name, &reason));
    }
    Ok(())
}

/// Parameters of an output that change what the client reads. A reply that ignores one would be read wrongly: the client
/// would take old numbers from its shared memory, or scores for classes.
const UNSUPPORTED: [(&str, &str); 4] = [
    (SHARED_MEMORY, "shared memory is not supported; leave it out to get the data in the reply"),
    ("shared_memory_byte_size", "shared memory is not supported; leave it out to get the data in the reply"),
    ("shared_memory_offset", "shared memory is not supported; leave it out to get the data in the reply"),
    ("classification", "classification is not supported; leave it out to get all scores"),
];

/// Checks that no output is requested twice, or in a form that is not supported. This is done before the run: a request whose
/// reply is an error was not served.
///
/// # Errors
/// Names the output.
pub(super) fn check_requested(requested: &[RequestedOutput]) -> Result<(), ServeError> {
    for output in requested {
        if let Some((parameter, mend)) = UNSUPPORTED.iter().find(|(name, _)| output.parameters.contains_key(*name)) {
            let name = shortened(&output.name);
            return Err(ServeError::invalid(format!("output `{name}`: parameter `{parameter}`: {mend}")));
        }
    }
    let mut known = HashSet::with_capacity(requested.len());
    match requested.iter().find(|wanted| !known.insert(wanted.name.as_str())) {
        Some(repeated) => {
            Err(ServeError::invalid(format!("the output `{}` is requested twice", shortened(&repeated.name))))
        }
        None => Ok(()),
    }
}

/// A BYTES tensor of `shape`, which has as many elements.
pub(super) fn bytes_tensor(name: &str, shape: Vec<u64>, elements: Vec<Bytes>, parameters: Parameters) -> Tensor {
    Tensor { name: name.to_owned(), datatype: Datatype::Bytes, shape, parameters, data: Data::Elements(elements) }
}
