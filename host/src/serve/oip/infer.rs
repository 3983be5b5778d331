//! Runs inference requests.

use std::sync::Arc;

use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::text::shortened;

use super::call::{Answer, Call, Settings};
use super::images;
use super::json_outputs::BinaryOutputs;
use super::model::ModelPart;
use super::parameter::Parameters;
use super::request::{Request, Response, check_requested, select};
use super::tensor::Tensor;
use crate::records::RequestSummary;
use crate::serve::blocking;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::problem::status;

/// The parameters and outputs of a response.
type Outputs = (Parameters, Vec<Tensor>);

/// Runs a request and returns its response or error.
pub async fn run(mut call: Call, mut request: Request) -> Answer {
    if let Err(error) = check_requested(&request.outputs) {
        return call.refuse(error);
    }
    let settings = match call.settings(&request.parameters) {
        Ok(settings) => settings,
        Err(error) => return call.refuse(error),
    };
    call.record.set_chip(&settings.chip);
    let id = request.id.take();
    let model_version = call.model.pipeline.version.clone();
    let model_name = call.model.name.clone();
    let (summary, result) = match call.model.part {
        ModelPart::Whole => images::run(call, settings, &request).await,
        ModelPart::Infer => run_infer(call, settings, &request).await,
    };
    let result = result.map(|(parameters, outputs)| Response { model_name, model_version, id, parameters, outputs });
    Answer { summary, result }
}

/// Runs only the infer stage, with the tensors of the caller.
async fn run_infer(
    mut call: Call,
    settings: Settings,
    request: &Request,
) -> (RequestSummary, Result<Outputs, ServeError>) {
    let refused = |call: Call, error: ServeError| {
        let Answer { summary, result } = call.refuse(error);
        (summary, result.map(|_| Outputs::default()))
    };
    let pipeline = Arc::clone(&call.model.pipeline);
    let inputs = match call.tensors(&settings, request) {
        Ok(inputs) => inputs,
        Err(error) => return refused(call, error),
    };
    let permits = async {
        let shares = call.app.shares(&pipeline);
        let queued = call.app.admission.enter_queue(shares)?;
        Ok((queued, call.app.admission.wait_for_slot(shares, &mut call.record).await?))
    };
    let _permits = match permits.await {
        Ok(permits) => permits,
        Err(error) => return refused(call, error),
    };
    let step = call.model.step.clone();
    let stage = match &step {
        None => pipeline.find_infer(&settings.chip),
        Some(step) => pipeline.find_step(step, &settings.chip),
    };
    let stage = match stage {
        Ok(stage) => stage,
        Err(error) => return refused(call, error.into()),
    };
    call.app.shadows.follow(&pipeline, &settings.request, &mut call.record);
    let result = match pipeline.run_infer(stage, &mut call.record, &settings.request, inputs).await {
        Ok(outputs) => {
            let outputs = stage.core().in_declared_types(outputs).into_iter();
            let converted = outputs.map(|(name, tensor)| {
                let what = format!("the output `{}` of model `{}`", shortened(&name), call.model.name);
                Tensor::from_nn(name, tensor)
                    .map_err(|error| ServeError::new(ErrorKind::Internal, format!("{what} cannot be sent: {error}")))
            });
            // Before the run it was checked that the model declares the requested outputs.
            let is_declared = stage.signatures().is_some();
            let selected = converted.collect::<Result<Vec<_>, _>>().and_then(|outputs| {
                let is_missing = |name: &str| outputs.iter().all(|output| output.name != name);
                let missing = request.outputs.iter().find(|wanted| is_declared && is_missing(&wanted.name));
                match missing {
                    Some(missing) => Err(ServeError::new(
                        ErrorKind::Stage(StageKind::Infer, Outcome::Internal),
                        format!("the plugin left out the output `{}` of its model", shortened(&missing.name)),
                    )),
                    None => select(outputs, &request.outputs, &call.model.name),
                }
            });
            let selected = match selected {
                Ok(outputs) => in_json_form(outputs, request.binary.clone()).await,
                Err(error) => Err(error),
            };
            call.record.finish(selected.as_ref().map_or_else(|error| error.kind.outcome(), |_| Outcome::Ok));
            selected.map(|outputs| (Parameters::new(), outputs))
        }
        Err(failed) => {
            call.record.finish(failed.error.outcome);
            let error = ServeError::from_stage(&failed, call.record.high_water_of(&failed));
            // Here the tensors are the caller's, so a mismatch is the caller's error, also if the plugin found it.
            Err(match failed.error.outcome {
                Outcome::TensorMismatch | Outcome::InvalidInput => error.with_kind(ErrorKind::TensorMismatch),
                _ => error,
            })
        }
    };
    if let Err(error) = &result {
        call.record.set_status(status(error.kind).0.as_u16());
    }
    (call.record.summary(), result.map_err(|error| error.for_request(&call.record.id)))
}

/// Checks that outputs have the form in which they are wanted. A request whose reply is an error is counted as one.
async fn in_json_form(outputs: Vec<Tensor>, binary: Option<BinaryOutputs>) -> Result<Vec<Tensor>, ServeError> {
    let Some(binary) = binary else { return Ok(outputs) };
    let bytes = outputs.iter().map(|output| output.data.bytes()).sum();
    Ok(blocking::run(bytes, move || binary.check(&outputs).map(|()| outputs)).await?)
}
