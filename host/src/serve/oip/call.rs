//! A request in progress: its record, and the settings from its parameters.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use plimsoll_runtime::stage;
use plimsoll_runtime::tensor::Tensors;
use plimsoll_runtime::text::shortened;

use super::model::{ERRORS, IMAGE, Model, OUTPUT, names_of};
use super::parameter::Parameters;
use super::request::{BASE64, Request, Response, check_outputs, invalid_input};
use super::tensor::Data;
use crate::deploy::ServedPipeline;
use crate::records::{Origin, RequestRecord, RequestStart, RequestSummary};
use crate::serve::App;
use crate::serve::caller_limit::CallerSlot;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::status;

/// Maximum images of one request, because each image needs instances of three stages.
pub const MAX_IMAGES: usize = 256;

/// Maximum bytes of the parameters that a request has for its stages: as many as the head of a request may have. They are
/// copied for each image, for a recording and for a shadow run.
const MAX_PARAMETER_BYTES: usize = 64 << 10;

/// The parameters that the host interprets. All others are passed to the stages.
const HOST_PARAMETERS: [&str; 4] = ["binary_data_output", "chip", "partial", "timeout"];

/// A request in progress, with its record.
pub struct Call {
    pub(super) app: Arc<App>,
    pub(super) model: Model,
    /// Counts and logs the request when it is dropped.
    pub record: RequestRecord,
    /// The chip that the transport names; a parameter takes precedence.
    pub chip: Option<String>,
    /// The slot that the request holds in its caller's limit of concurrent requests.
    caller_slot: Option<CallerSlot>,
    /// Parameters for the stages that the transport provides, for example query parameters.
    pub query: Vec<(String, String)>,
}

/// A response or an error, and the summary of the request.
pub struct Answer {
    /// The summary, which becomes headers or metadata.
    pub summary: RequestSummary,
    /// The response or the error.
    pub result: Result<Response, ServeError>,
}

/// The settings of a request, from its parameters.
pub(super) struct Settings {
    pub(super) chip: String,
    pub(super) partial: bool,
    pub(super) request: stage::Request,
}

impl Call {
    /// Starts a request. It is counted and logged from now on, however it ends.
    pub fn open(
        app: &Arc<App>,
        model: Model,
        id: String,
        caller: Option<&[u8]>,
        (origin, headers): (Origin, &HeaderMap),
    ) -> Self {
        let Model { pipeline, canary_side, .. } = &model;
        let start = RequestStart {
            id,
            pipeline: &pipeline.name,
            chip: &pipeline.default_chip,
            deadline: pipeline.deadline,
            model: Some((&model.name, &pipeline.version)),
            canary_side: canary_side.clone(),
            caller,
            origin: Some(origin),
            headers: Some(headers),
        };
        let record = RequestRecord::start(start, &app.records);
        Self { app: Arc::clone(app), model, record, chip: None, caller_slot: None, query: Vec::new() }
    }

    /// Counts the request against the limits of its caller.
    ///
    /// # Errors
    /// If the caller has reached a limit.
    pub fn limit_caller(&mut self, caller: Option<&[u8]>) -> Result<(), ServeError> {
        self.caller_slot = Some(self.app.admission.callers.enter(caller)?);
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Ends a request with an error before its stages run.
    pub fn refuse(mut self, error: ServeError) -> Answer {
        self.record.finish(error.kind.outcome());
        self.record.set_status(status(error.kind).0.as_u16());
        let error = error.for_request(&self.record.id);
        Answer { summary: self.record.summary(), result: Err(error) }
    }

    /// Interprets the host's parameters. All others become parameters of the stages.
    pub(super) fn settings(&mut self, parameters: &Parameters) -> Result<Settings, ServeError> {
        let wrong = |name: &str, what: &str| ServeError::invalid(format!("the parameter `{name}` must be {what}"));
        let chip = match parameters.get("chip") {
            None => self.chip.take().unwrap_or_else(|| self.model.pipeline.default_chip.clone()),
            Some(chip) => chip.as_text().ok_or_else(|| wrong("chip", "the name of a chip"))?.to_owned(),
        };
        self.model.pipeline.find_chip(&chip)?;
        if let Some(timeout) = parameters.get("timeout") {
            let micros = timeout.as_integer().and_then(|micros| u64::try_from(micros).ok());
            let micros = micros.ok_or_else(|| wrong("timeout", "a number of microseconds"))?;
            // Clients of Triton use 0 for "no time-out".
            if micros > 0 {
                self.record.limit_deadline(Duration::from_micros(micros));
            }
        }
        let partial = match parameters.get("partial") {
            None => false,
            Some(partial) => partial.as_bool().ok_or_else(|| wrong("partial", "true or false"))?,
        };
        let is_host = |name: &str| HOST_PARAMETERS.contains(&name);
        let given =
            parameters.iter().filter(|(name, _)| !is_host(name)).map(|(name, value)| (name.clone(), value.to_string()));
        let mut query = std::mem::take(&mut self.query);
        query.retain(|(name, _)| name != "chip");
        if let Some((name, _)) = query.iter().find(|(name, _)| parameters.contains_key(name) || is_host(name)) {
            let name = shortened(name);
            return Err(ServeError::new(
                ErrorKind::InvalidParameter,
                match is_host(&name) {
                    true => format!("`{name}` is not a query parameter here; send it in the `parameters` of the body"),
                    false => format!("the parameter `{name}` is in the query and in the body; send it once"),
                },
            ));
        }
        let parameters: Vec<_> = query.into_iter().chain(given).collect();
        let bytes: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_PARAMETER_BYTES {
            return Err(ServeError::invalid(format!(
                "the parameters for the plugins have {bytes} bytes, and {MAX_PARAMETER_BYTES} are allowed; send large \
                 values as an input"
            )));
        }
        let request = stage::Request { id: self.record.id.clone(), content_type: None, parameters };
        Ok(Settings { chip, partial, request })
    }

    /// Converts the inputs to tensors of a stage. If the stage has a model, checks inputs and outputs against it.
    pub(super) fn tensors(&self, settings: &Settings, request: &Request) -> Result<Tensors, ServeError> {
        if settings.partial {
            let model = &self.model.name;
            return Err(ServeError::invalid(format!("the parameter `partial` is for images; `{model}` takes tensors")));
        }
        let stage = self.model.stage(&settings.chip)?;
        let mut inputs = Vec::with_capacity(request.inputs.len());
        let mut known = HashSet::with_capacity(request.inputs.len());
        for input in &request.inputs {
            if !known.insert(input.name.as_str()) {
                return Err(ServeError::invalid(format!("the input `{}` is given twice", shortened(&input.name))));
            }
            inputs.push((input.name.clone(), input.to_nn().map_err(|error| invalid_input(&input.name, &error))?));
        }
        stage.check_inputs(&inputs).map_err(|error| ServeError::new(ErrorKind::TensorMismatch, error.to_string()))?;
        if let Some((_, outputs)) = stage.signatures() {
            let known: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
            check_outputs(&known, &request.outputs, &self.model.name)?;
            let wanted = &request.outputs;
            let is_written = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted.name == name);
            request.binary.iter().try_for_each(|binary| binary.check_declared(outputs, is_written))?;
        }
        Ok(inputs)
    }

    /// Returns the images, which are the elements of the pipeline's only input. Sets their media type in `settings`.
    pub(super) fn images(&self, settings: &mut Settings, request: &Request) -> Result<Vec<Bytes>, ServeError> {
        let model = &self.model.name;
        let [input] = request.inputs.as_slice() else {
            let given = request.inputs.len();
            return Err(ServeError::invalid(format!(
                "model `{model}` takes one input, `{IMAGE}`, but {given} were given"
            )));
        };
        if input.name != IMAGE {
            let given = shortened(&input.name);
            return Err(ServeError::invalid(format!("model `{model}` has no input `{given}`; it takes `{IMAGE}`")));
        }
        let Data::Elements(images) = &input.data else {
            let given = input.datatype;
            return Err(ServeError::invalid(format!(
                "input `{IMAGE}` of model `{model}` must be encoded images with datatype BYTES, but {given} was given{}",
                takes_tensors(&self.model.pipeline)
            )));
        };
        if images.is_empty() || images.len() > MAX_IMAGES {
            let given = images.len();
            return Err(ServeError::invalid(format!(
                "one request may have 1 to {} images, but {given} were given",
                MAX_IMAGES
            )));
        }
        let known: &[&str] = if settings.partial { &[OUTPUT, ERRORS] } else { &[OUTPUT] };
        check_outputs(known, &request.outputs, model)?;
        let content_type = input.parameters.get("content_type").and_then(|value| value.as_text());
        settings.request.content_type = content_type.filter(|text| *text != BASE64).map(str::to_owned);
        Ok(images.clone())
    }
}

/// The end of a message: the first model of the pipeline that takes tensors, if there is one.
fn takes_tensors(pipeline: &ServedPipeline) -> String {
    names_of(pipeline).get(1).map_or_else(String::new, |model| format!("; `{model}` takes tensors"))
}
