//! Runs the images of one request. Each image runs as a separate request, in its own instances. The results are in the
//! order of the images.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{self, Reply};
use tokio::task::JoinSet;

use super::call::{Answer, Call, Settings};
use super::model::{ERRORS, OUTPUT};
use super::parameter::Parameters;
use super::request::{Request, bytes_tensor, select};
use super::tensor::Tensor;
use crate::deploy::ServedPipeline;
use crate::records::{RequestRecord, RequestSummary};
use crate::serve::App;
use crate::serve::byte_budget::Reservation;
use crate::serve::error::ServeError;
use crate::serve::overloaded::Overloaded;
use crate::serve::problem::{Problem, status};

/// The data that all images of a request share.
struct Shared {
    app: Arc<App>,
    pipeline: Arc<ServedPipeline>,
    chip: String,
    request: stage::Request,
}

/// The summary and the result of one image.
type Ended = (RequestSummary, Result<Reply, ServeError>);

/// Runs the pipeline for every image.
pub(super) async fn run(
    call: Call,
    mut settings: Settings,
    request: &Request,
) -> (RequestSummary, Result<(Parameters, Vec<Tensor>), ServeError>) {
    let refused = |call: Call, error: ServeError| {
        let Answer { summary, result } = call.refuse(error);
        (summary, result.map(|_| (Parameters::new(), Vec::new())))
    };
    let images = match call.images(&mut settings, request) {
        Ok(images) => images,
        Err(error) => return refused(call, error),
    };
    // The request takes one queue slot for all its images, because waiting images delay only this request.
    let _queued = match call.app.admission.enter_queue(call.app.shares(&call.model.pipeline)) {
        Ok(queued) => queued,
        Err(overloaded) => return refused(call, overloaded.into()),
    };
    let Settings { chip, partial, request: stage_request } = settings;
    let Call { app, model, record, .. } = call;
    let pipeline = Arc::clone(&model.pipeline);
    let shared = Arc::new(Shared { app, pipeline, chip, request: stage_request });
    let total = images.len();
    let mut summary = record.summary().of_images();
    // The replies of the images that have ended are in memory until the last one has.
    let mut replies_held = shared.app.admission.begin_reply();
    let ended = if total == 1 {
        let image = images.into_iter().next().unwrap_or_default();
        vec![(0, shared.run_image(record, image).await)]
    } else {
        run_images(&shared, record, images, partial, &mut replies_held).await
    };

    let mut replies = Vec::with_capacity(total);
    let mut problems = Vec::with_capacity(total);
    let mut content_types = BTreeSet::new();
    let mut failed = 0_u64;
    for (index, (image, result)) in ended {
        summary.add(image);
        match result {
            Ok(reply) => {
                content_types.insert(reply.content_type);
                replies.push(Bytes::from(reply.body));
                problems.push(Bytes::new());
            }
            Err(error) if partial => {
                failed += 1;
                replies.push(Bytes::new());
                problems.push(Problem::json(&error).into());
            }
            Err(error) if total > 1 => {
                let error = error.prefixed(&format!("image {} of {total}", index + 1)).with_index(index);
                return (summary, Err(error));
            }
            Err(error) => return (summary, Err(error)),
        }
    }
    let mut parameters = Parameters::new();
    // One parameter cannot name the media types of several replies.
    if let (Some(content_type), None) = (content_types.pop_first(), content_types.pop_first()) {
        parameters.insert("content_type".to_owned(), content_type.as_str().into());
    }
    let shape = request.inputs.first().map_or_else(|| vec![total as u64], |input| input.shape.clone());
    let mut outputs = vec![bytes_tensor(OUTPUT, shape.clone(), replies, parameters)];
    let mut parameters = Parameters::new();
    if partial {
        outputs.push(bytes_tensor(ERRORS, shape, problems, Parameters::new()));
        parameters.insert("failed".to_owned(), failed.into());
    }
    let outputs = select(outputs, &request.outputs, &model.name);
    (summary, outputs.map(|outputs| (parameters, outputs)))
}

/// Runs up to one image per core concurrently. Returns each result with the image's index, in order. If `partial` is
/// false, the first error cancels the other images, and they have no result. Dropping the future cancels all images.
async fn run_images(
    shared: &Arc<Shared>,
    mut first: RequestRecord,
    images: Vec<Bytes>,
    partial: bool,
    replies_held: &mut Reservation,
) -> Vec<(usize, Ended)> {
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
            let record = first.take().unwrap_or_else(|| siblings.record(index));
            running.spawn(async move { (index, shared.run_image(record, image).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        // A panic of a run is the panic of the request. No run is cancelled before this loop ends.
        let (index, mut result) = joined.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        if let Ok(reply) = &result.1
            && replies_held.try_grow(replies_held.bytes() + reply.body.len() as u64).is_err()
        {
            result.1 = Err(Overloaded::replies().into());
        }
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
    /// Runs one image through the three stages.
    async fn run_image(&self, mut record: RequestRecord, image: Bytes) -> Ended {
        let result = self.try_run_image(&mut record, image).await;
        match &result {
            Ok(_) => record.finish(Outcome::Ok),
            Err(error) => {
                record.finish(error.kind.outcome());
                record.set_status(status(error.kind).0.as_u16());
            }
        }
        (record.summary(), result.map_err(|error| error.for_request(&record.id)))
    }

    async fn try_run_image(&self, record: &mut RequestRecord, image: Bytes) -> Result<Reply, ServeError> {
        let _slot = self.app.admission.wait_for_slot(self.app.shares(&self.pipeline), record).await?;
        if let Some(recorder) = &self.pipeline.recorder {
            record.keep_input(recorder, &self.request, &image);
        }
        if let Some(capture) = self.pipeline.capture.as_ref().filter(|capture| capture.takes_next()) {
            record.capture(&capture.recorder, &self.request, &image);
        }
        self.app.shadows.follow(&self.pipeline, &self.request, record);
        let infer = self.pipeline.find_chip(&self.chip)?;
        let reply = self.pipeline.run(infer, record, &self.request, &image).await;
        if let Ok(reply) = &reply {
            record.capture_reply(reply);
        }
        reply.map_err(|failed| ServeError::from_stage(&failed, record.high_water_of(&failed)))
    }
}
