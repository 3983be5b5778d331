//! From a request with tensors to a response: admission, the stages under the request's trace, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batch;
use super::model::{ERRORS, IMAGE, Model, OUTPUT, Part};
use super::parameter::Parameters;
use super::tensor::{Data, Datatype, Tensor, shown};
use crate::app::App;
use crate::http::admission::Refused;
use crate::http::problem::Problem;
use crate::stage::Outcome;
use crate::stage::bindings;
use crate::trace::{Report, Trace};

/// Inputs or outputs of one request.
pub const MAX_TENSORS: usize = 1_024;
/// Parameters of a request, or of one of its tensors.
pub const MAX_PARAMETERS: usize = 256;

/// Parameters that the host itself heeds; all others are the stages'.
const OWN: [&str; 5] = ["binary_data_output", "chip", "partial", "raw_input", "timeout"];

/// A request, however it came.
#[derive(Debug, Default)]
pub struct Request {
    /// To be echoed.
    pub id: Option<String>,
    /// Of the whole request.
    pub parameters: Parameters,
    /// In the caller's order.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted; all of them where none is named.
    pub outputs: Vec<Wanted>,
}

/// An output that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// What is answered, however it goes.
#[derive(Debug)]
pub struct Response {
    /// The model's name.
    pub model_name: String,
    /// The version that answered.
    pub model_version: String,
    /// The request's.
    pub id: Option<String>,
    /// Of the whole response.
    pub parameters: Parameters,
    /// The outputs.
    pub outputs: Vec<Tensor>,
}

/// One request on its way, with the trace by which it is counted.
pub struct Call {
    pub(super) app: Arc<App>,
    pub(super) model: Model,
    /// Counts and logs the request when it is dropped.
    pub trace: Trace,
    /// The chip that the transport names; a parameter goes before it.
    pub chip: Option<String>,
    /// What the transport has of parameters for the stages.
    pub query: Vec<(String, String)>,
}

/// A response, or why there is none; and what the stages needed.
pub struct Answer {
    /// For the headers.
    pub report: Report,
    /// The response.
    pub result: Result<Response, Problem>,
}

/// What the parameters ask for.
pub(super) struct Settings {
    pub(super) chip: String,
    pub(super) partial: bool,
    pub(super) request: bindings::Request,
}

impl Call {
    /// Begins a request: from here on it is counted, whatever becomes of it.
    pub fn open(app: &Arc<App>, model: Model, id: String, caller: Option<&[u8]>) -> Self {
        let Model { pipeline, arm, .. } = &model;
        let recorder = Arc::clone(&app.recorder);
        let mut trace = Trace::new(id, &pipeline.name, &pipeline.default_chip, pipeline.deadline, recorder);
        trace.of_model(&model.name, &pipeline.version);
        if let Some(arm) = arm {
            trace.of_trial(Arc::clone(arm));
        }
        if let Some(caller) = caller {
            trace.of_caller(app.recorder.caller(Some(caller)));
        }
        Self { app: Arc::clone(app), model, trace, chip: None, query: Vec::new() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Ends a request that never came to its stages.
    pub fn refuse(mut self, (outcome, problem): Refused) -> Answer {
        self.trace.finish(outcome);
        let problem = problem.of_request(&self.trace.id);
        Answer { report: self.trace.report(), result: Err(problem) }
    }

    /// Runs the stages.
    pub async fn run(mut self, mut request: Request) -> Answer {
        let settings = match self.settings(&request.parameters) {
            Ok(settings) => settings,
            Err(problem) => return self.refuse((Outcome::InvalidInput, problem)),
        };
        self.trace.on_chip(&settings.chip);
        let id = request.id.take();
        let version = self.model.pipeline.version.clone();
        let name = self.model.name.clone();
        let (report, result) = match self.model.part {
            Part::Whole => batch::run(self, settings, &request).await,
            Part::Infer => self.infer(settings, &request).await,
        };
        let result = result.map(|(parameters, outputs)| Response {
            model_name: name,
            model_version: version,
            id,
            parameters,
            outputs,
        });
        Answer { report, result }
    }

    /// What the parameters ask of the host, and the request as the stages get it.
    fn settings(&mut self, parameters: &Parameters) -> Result<Settings, Problem> {
        let wrong = |name: &str, what: &str| invalid(format!("the parameter `{name}` must be {what}"));
        let chip = match parameters.get("chip") {
            None => self.chip.take().unwrap_or_else(|| self.model.pipeline.default_chip.clone()),
            Some(chip) => chip.as_text().ok_or_else(|| wrong("chip", "the name of a chip"))?.to_owned(),
        };
        if self.model.pipeline.chip(&chip).is_none() {
            let known: Vec<_> = self.model.pipeline.chips.keys().map(String::as_str).collect();
            let name = &self.model.pipeline.name;
            let detail = format!("pipeline `{name}` has no chip `{}`; it has {}", shown(&chip), known.join(", "));
            return Err(Problem::not_found(detail));
        }
        if let Some(timeout) = parameters.get("timeout") {
            let micros = timeout.as_integer().and_then(|micros| u64::try_from(micros).ok());
            let micros = micros.ok_or_else(|| wrong("timeout", "a number of microseconds"))?;
            // Triton's clients mean by 0 that there is none.
            if micros > 0 {
                self.trace.within(Duration::from_micros(micros));
            }
        }
        let partial = match parameters.get("partial") {
            None => false,
            Some(partial) => partial.as_bool().ok_or_else(|| wrong("partial", "true or false"))?,
        };
        let own = |name: &str| OWN.contains(&name);
        let told =
            parameters.iter().filter(|(name, _)| !own(name)).map(|(name, value)| (name.clone(), value.to_string()));
        let query = std::mem::take(&mut self.query).into_iter().filter(|(name, _)| !own(name));
        let parameters = query.chain(told).collect();
        let request = bindings::Request { id: self.trace.id.clone(), content_type: None, parameters };
        Ok(Settings { chip, partial, request })
    }

    /// The infer stage alone, with the caller's own tensors.
    async fn infer(
        mut self,
        settings: Settings,
        request: &Request,
    ) -> (Report, Result<(Parameters, Vec<Tensor>), Problem>) {
        let pipeline = Arc::clone(&self.model.pipeline);
        let stage = pipeline.chip(&settings.chip).expect("`settings` looked");
        let inputs = match self.tensors(&settings, request) {
            Ok(inputs) => inputs,
            Err(problem) => return self.refuse((Outcome::InvalidInput, problem)).without_response(),
        };
        let permits = async {
            let turn = self.app.admission.turn()?;
            Ok((turn, self.app.admission.place_for(&mut self.trace).await?))
        };
        let _permits = match permits.await {
            Ok(permits) => permits,
            Err(refused) => return self.refuse(refused).without_response(),
        };
        let result = match pipeline.run_infer(stage, &mut self.trace, &settings.request, inputs).await {
            Ok(outputs) => {
                self.trace.finish(Outcome::Ok);
                let outputs = outputs.into_iter().map(|(name, tensor)| Tensor::from_nn(name, tensor)).collect();
                select(outputs, &request.outputs, &self.model.name).map(|outputs| (Parameters::new(), outputs))
            }
            Err(failed) => {
                self.trace.finish(failed.error.outcome);
                let problem = Problem::from_stage(&failed, self.trace.high_water());
                // Here it is the caller who made the tensors.
                Err(if failed.error.outcome == Outcome::TensorMismatch { problem.bad_request() } else { problem })
            }
        };
        (self.trace.report(), result.map_err(|problem| problem.of_request(&self.trace.id)))
    }

    /// The inputs as `wasi:nn` has them, held against the model where the stage has one.
    fn tensors(&self, settings: &Settings, request: &Request) -> Result<crate::stage::run::Tensors, Problem> {
        if settings.partial {
            return Err(invalid(format!("the parameter `partial` is for images; `{}` takes tensors", self.model.name)));
        }
        let stage = self.model.pipeline.chip(&settings.chip).expect("`settings` looked");
        let mut inputs = Vec::with_capacity(request.inputs.len());
        for input in &request.inputs {
            if inputs.iter().any(|(name, _)| *name == input.name) {
                return Err(invalid(format!("the input `{}` is given twice", shown(&input.name))));
            }
            inputs.push((input.name.clone(), input.to_nn().map_err(invalid)?));
        }
        stage
            .check_inputs(&inputs)
            .map_err(|detail| Problem::new(axum::http::StatusCode::BAD_REQUEST, "tensor_mismatch", detail))?;
        if let Some((_, outputs)) = stage.signatures() {
            let known: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
            check_wanted(&known, &request.outputs, &self.model.name)?;
        }
        Ok(inputs)
    }

    /// The images of the one input that a pipeline takes.
    pub(super) fn images(&self, settings: &mut Settings, request: &Request) -> Result<Vec<Bytes>, Problem> {
        let model = &self.model.name;
        let [input] = request.inputs.as_slice() else {
            let given = request.inputs.len();
            return Err(invalid(format!("model `{model}` takes one input, `{IMAGE}`; {given} were given")));
        };
        if input.name != IMAGE {
            let given = shown(&input.name);
            return Err(invalid(format!("model `{model}` has no input `{given}`; it takes `{IMAGE}`")));
        }
        let Data::Elements(images) = &input.data else {
            let given = input.datatype;
            return Err(invalid(format!(
                "input `{IMAGE}` of model `{model}` is an encoded image of the datatype BYTES, {given} was given; \
                 `{model}{}` takes tensors",
                super::model::INFER
            )));
        };
        if images.is_empty() || images.len() > batch::MAX_IMAGES {
            let given = images.len();
            return Err(invalid(format!("one request may have 1 to {} images, {given} were given", batch::MAX_IMAGES)));
        }
        let known: &[&str] = if settings.partial { &[OUTPUT, ERRORS] } else { &[OUTPUT] };
        check_wanted(known, &request.outputs, model)?;
        let content_type = input.parameters.get("content_type").and_then(|value| value.as_text());
        settings.request.content_type = content_type.filter(|text| *text != BASE64).map(str::to_owned);
        Ok(images.clone())
    }
}

/// The parameter `content_type` of an input whose JSON strings are base64 and not the bytes themselves.
pub const BASE64: &str = "base64";

impl Answer {
    pub(super) fn without_response<T>(self) -> (Report, Result<T, Problem>) {
        let Err(problem) = self.result else { unreachable!("it was refused") };
        (self.report, Err(problem))
    }
}

/// A mistake in the request itself.
pub fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_input", detail)
}

fn check_wanted(known: &[&str], wanted: &[Wanted], model: &str) -> Result<(), Problem> {
    match wanted.iter().find(|wanted| !known.contains(&wanted.name.as_str())) {
        None => Ok(()),
        Some(other) => {
            let (other, known) = (shown(&other.name), known.join("`, `"));
            Err(invalid(format!("model `{model}` has no output `{other}`; it gives `{known}`")))
        }
    }
}

/// The outputs that are wanted, in the order in which they are.
pub(super) fn select(mut outputs: Vec<Tensor>, wanted: &[Wanted], model: &str) -> Result<Vec<Tensor>, Problem> {
    if wanted.is_empty() {
        return Ok(outputs);
    }
    let known: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
    check_wanted(&known, wanted, model)?;
    wanted
        .iter()
        .map(|wanted| {
            let at = outputs.iter().position(|output| output.name == wanted.name);
            let at = at.ok_or_else(|| invalid(format!("the output `{}` is asked for twice", shown(&wanted.name))))?;
            Ok(outputs.swap_remove(at))
        })
        .collect()
}

/// One BYTES tensor of elements in a row.
pub(super) fn bytes_tensor(name: &str, elements: Vec<Bytes>, parameters: Parameters) -> Tensor {
    let shape = vec![elements.len() as u64];
    Tensor { name: name.to_owned(), datatype: Datatype::Bytes, shape, parameters, data: Data::Elements(elements) }
}
