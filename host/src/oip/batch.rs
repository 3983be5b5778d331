//! The images of one request: each is a request of its own, in its own instances, and they are answered in order.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::infer::{Call, Request, Settings, bytes_tensor, select};
use super::model::{ERRORS, OUTPUT};
use super::parameter::Parameters;
use super::tensor::Tensor;
use crate::app::App;
use crate::http::problem::Problem;
use crate::pipeline::Pipeline;
use crate::stage::Outcome;
use crate::stage::bindings;
use crate::stage::bindings::Reply;
use crate::trace::{Report, Trace};

/// Images of one request: each costs an instance of three stages.
pub const MAX_IMAGES: usize = 256;

/// What all images of a request have in common.
struct Shared {
    app: Arc<App>,
    pipeline: Arc<Pipeline>,
    chip: String,
    request: bindings::Request,
}

/// How one image ended.
type Ended = (Report, Result<Reply, Problem>);

/// Runs the pipeline for every image.
pub(super) async fn run(
    call: Call,
    mut settings: Settings,
    request: &Request,
) -> (Report, Result<(Parameters, Vec<Tensor>), Problem>) {
    let images = match call.images(&mut settings, request) {
        Ok(images) => images,
        Err(problem) => return call.refuse((Outcome::InvalidInput, problem)).without_response(),
    };
    // One place in the queue for all of them: images beyond those that run are nobody's but this request's.
    let _turn = match call.app.admission.turn() {
        Ok(turn) => turn,
        Err(refused) => return call.refuse(refused).without_response(),
    };
    let Settings { chip, partial, request: stage_request } = settings;
    let Call { app, model, trace, .. } = call;
    let pipeline = Arc::clone(&model.pipeline);
    let shared = Arc::new(Shared { app, pipeline, chip, request: stage_request });
    let total = images.len();
    let ended = if total == 1 {
        let image = images.into_iter().next().expect("one");
        vec![(0, shared.image(trace, image).await)]
    } else {
        many(&shared, trace, images, partial).await
    };

    let mut report: Option<Report> = None;
    let mut replies = Vec::with_capacity(total);
    let mut problems = Vec::with_capacity(total);
    let mut content_type = None;
    let mut failed = 0_u64;
    for (index, (stages, result)) in ended {
        match &mut report {
            None => report = Some(stages),
            Some(report) => report.add(stages),
        }
        match result {
            Ok(reply) => {
                content_type.get_or_insert(reply.content_type);
                replies.push(Bytes::from(reply.body));
                problems.push(Bytes::new());
            }
            Err(problem) if partial => {
                failed += 1;
                replies.push(Bytes::new());
                problems.push(serde_json::to_vec(&problem).expect("strings and numbers").into());
            }
            Err(problem) => {
                let problem = if total > 1 {
                    problem.prefixed(&format!("image {} of {total}", index + 1)).with_index(index)
                } else {
                    problem
                };
                return (report.expect("just set"), Err(problem));
            }
        }
    }
    let mut parameters = Parameters::new();
    if let Some(content_type) = content_type {
        parameters.insert("content_type".to_owned(), content_type.as_str().into());
    }
    let mut outputs = vec![bytes_tensor(OUTPUT, replies, parameters)];
    let mut parameters = Parameters::new();
    if partial {
        outputs.push(bytes_tensor(ERRORS, problems, Parameters::new()));
        parameters.insert("failed".to_owned(), failed.into());
    }
    let outputs = select(outputs, &request.outputs, &model.name);
    (report.expect("at least one image"), outputs.map(|outputs| (parameters, outputs)))
}

/// As many at once as there are cores; gives each with its index, in order. Without `partial` the first error ends the
/// others, which are then left out. Whoever drops this stops them all.
async fn many(shared: &Arc<Shared>, first: Trace, images: Vec<Bytes>, partial: bool) -> Vec<(usize, Ended)> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let siblings = first.siblings();
    let mut first = Some(first);
    let mut waiting = images.into_iter().enumerate();
    let mut ended = Vec::with_capacity(waiting.len());
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once {
            let Some((index, image)) = waiting.next() else { break };
            let shared = Arc::clone(shared);
            let trace = first.take().unwrap_or_else(|| siblings.trace(index));
            running.spawn(async move { (index, shared.image(trace, image).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        let (index, result) = joined.expect("a run does not panic, and nobody cancels it");
        let failed = result.1.is_err();
        ended.push((index, result));
        if failed && !partial {
            running.shutdown().await;
            break;
        }
    }
    ended.sort_by_key(|(index, _)| *index);
    ended
}

impl Shared {
    /// One image through the three stages.
    async fn image(&self, mut trace: Trace, image: Bytes) -> Ended {
        let _place = match self.app.admission.place_for(&mut trace).await {
            Ok(place) => place,
            Err((outcome, problem)) => {
                trace.finish(outcome);
                return (trace.report(), Err(problem.of_request(&trace.id)));
            }
        };
        if let Some(recordings) = &self.pipeline.recordings {
            trace.of_input(recordings, &self.request, &image);
        }
        let infer = self.pipeline.chip(&self.chip).expect("`settings` looked");
        let result = match self.pipeline.run(infer, &mut trace, &self.request, &image).await {
            Ok(reply) => {
                trace.finish(Outcome::Ok);
                Ok(reply)
            }
            Err(failed) => {
                trace.finish(failed.error.outcome);
                Err(Problem::from_stage(&failed, trace.high_water()).of_request(&trace.id))
            }
        };
        (trace.report(), result)
    }
}
