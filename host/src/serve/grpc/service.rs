//! The methods of `GRPCInferenceService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Extensions, HeaderMap};
use futures_util::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::error::status;
use super::inference::grpc_inference_service_server::GrpcInferenceService;
use super::inference::model_metadata_response::TensorMetadata;
use super::inference::repository_index_response::ModelIndex;
use super::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest, RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest, RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse,
    ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use super::metadata::{set_metadata, timeout};
use super::reservation::CallReservation;
use super::stream_answer::StreamAnswer;
use crate::records::RequestSummary;
use crate::serve::administrator::Administrator;
use crate::serve::client::Client;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::handler_panics::HandlerPanics;
use crate::serve::headers::{REQUEST_ID, chip, is_usable_id, request_id};
use crate::serve::oip::call::{Answer, Call};
use crate::serve::oip::infer::run;
use crate::serve::oip::model::{self, Model, ModelMetadata};
use crate::serve::oip::{EXTENSIONS, SERVER_NAME, SERVER_VERSION, repository, statistics};
use crate::serve::part::Part;
use crate::serve::{App, blocking};

/// The implementation of `GRPCInferenceService`.
#[derive(Clone)]
pub(super) struct Service {
    app: Arc<App>,
    part: Part,
}

/// The paths of the methods that infer, for the log.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

type Answered<T> = Result<Response<T>, Status>;

/// The result of an infer call, and the summary of its request. There is no summary if the model was not found.
struct Inferred {
    summary: Option<RequestSummary>,
    result: Result<ModelInferResponse, ServeError>,
}

impl Service {
    pub(super) fn new(app: &Arc<App>, part: Part) -> Self {
        Self { app: Arc::clone(app), part }
    }

    /// Runs one inference. `headers` are the call's metadata; in a stream, `time` applies to this message only.
    async fn infer(
        &self,
        headers: &HeaderMap,
        (client, method): (&Client, &'static str),
        time: Option<Duration>,
        (message, held): (ModelInferRequest, Option<&CallReservation>),
    ) -> Inferred {
        let app = &self.app;
        let mut id = request_id(headers);
        if !headers.contains_key(REQUEST_ID) && is_usable_id(&message.id) {
            id.clone_from(&message.id);
        }
        let caller = client.caller(headers, &app.caller_header);
        let model = match Model::find(app, &message.model_name, Some(&message.model_version), caller) {
            Ok(model) => model,
            Err(error) => return Inferred { summary: None, result: Err(error.for_request(&id)) },
        };
        let mut call = Call::open(app, model, id, caller, (client.origin("POST", method), headers));
        call.chip = chip(headers, &[]).map(str::to_owned);
        if let Some(time) = time {
            call.record.limit_deadline(time);
        }
        let converted = match call.limit_caller(caller) {
            Ok(()) => convert::budgeted_request(message, call.model().part, held).await,
            Err(error) => Err(error),
        };
        let (answer, typed) = match converted {
            Ok((request, typed)) => (run(call, request).await, typed),
            Err(error) => (call.refuse(error), false),
        };
        let Answer { summary, result } = answer;
        let result = match result {
            Ok(response) => Ok(blocking::run(response.bytes(), move || convert::response(response, typed)).await),
            Err(error) => Err(error),
        };
        Inferred { summary: Some(summary), result }
    }

    /// Checks that a call may administrate. Returns how it was authorized.
    fn administrator(
        &self,
        metadata: MetadataMap,
        extensions: &Extensions,
        method: &str,
    ) -> Result<&'static str, Status> {
        if !self.part.administers() {
            let detail = "administration is not available at this address; it has its own (`[admin] listen`)";
            return Err(refused(ServeError::new(ErrorKind::MethodNotAllowed, detail)));
        }
        let client = Client::from_extensions(extensions);
        let checked = Administrator::check(&self.app, &metadata.into_headers(), &client, method).map_err(refused)?;
        Ok(checked.by)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` passes the error by value")]
fn refused(error: ServeError) -> Status {
    status(&error)
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answered<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answered<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.app.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answered<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        // As in Triton, a model that does not exist is not ready: clients ask until it is.
        let is_ready = |model: Model| self.app.is_running() && model.pipeline.is_in_service();
        let ready = Model::lookup(&self.app, &name, Some(&version)).is_ok_and(is_ready);
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answered<ServerMetadataResponse> {
        let extensions = EXTENSIONS.map(str::to_owned).to_vec();
        Ok(Response::new(ServerMetadataResponse {
            name: SERVER_NAME.into(),
            version: SERVER_VERSION.into(),
            extensions,
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answered<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = Model::lookup(&self.app, &name, Some(&version)).map_err(refused)?;
        let ModelMetadata { name, versions, platform, inputs, outputs } = model.metadata(&self.app);
        let tensors = |tensors: Vec<model::TensorMetadata>| {
            let tensors = tensors.into_iter();
            tensors.map(|t| TensorMetadata { name: t.name, datatype: t.datatype.into(), shape: t.shape }).collect()
        };
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions,
            platform: platform.into(),
            inputs: tensors(inputs),
            outputs: tensors(outputs),
            properties: std::collections::HashMap::new(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answered<ModelInferResponse> {
        let time = timeout(request.metadata())?;
        let (metadata, extensions, message) = request.into_parts();
        // The reservation is kept until the response is complete, because the tensors share the message's bytes.
        let held = extensions.get::<CallReservation>().cloned();
        let Inferred { summary, result } = self
            .infer(
                &metadata.into_headers(),
                (&Client::from_extensions(&extensions), INFER),
                time,
                (message, held.as_ref()),
            )
            .await;
        match result {
            Ok(message) => {
                let mut response = Response::new(message);
                summary.iter().for_each(|summary| set_metadata(response.metadata_mut(), summary));
                Ok(response)
            }
            Err(error) => {
                let mut status = status(&error);
                summary.iter().for_each(|summary| set_metadata(status.metadata_mut(), summary));
                Err(status)
            }
        }
    }

    /// Handles the messages of a stream one after the other. If a request fails, its response has the error message and
    /// the stream continues.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answered<Self::ModelStreamInferStream> {
        let time = timeout(request.metadata())?;
        let until = time.and_then(|time| tokio::time::Instant::now().checked_add(time));
        let (metadata, extensions, messages) = request.into_parts();
        let held = extensions.get::<CallReservation>().cloned();
        let decoding = held.clone();
        let client = Client::from_extensions(&extensions);
        let headers = Arc::new(metadata.into_headers());
        let this = self.clone();
        let answers = messages.then(move |message| {
            let (this, headers, held) = (this.clone(), Arc::clone(&headers), held.clone());
            let client = client.clone();
            async move {
                let mut message = message?;
                let answer = StreamAnswer::begin(&mut message);
                let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
                let message = (message, held.as_ref());
                let inferred = this.infer(&headers, (&client, STREAM_INFER), left, message);
                // A panic ends neither the stream nor the connection.
                let inferred = HandlerPanics::new(&this.app.records).catch(STREAM_INFER, inferred).await;
                Ok(answer.end(inferred.and_then(|inferred| inferred.result)))
            }
        });
        // A message that cannot be received or decoded ends the stream after one error.
        let answers = answers.scan(false, |ended, answer: Result<_, Status>| {
            let is_over = std::mem::replace(ended, answer.is_err());
            std::future::ready((!is_over).then_some(answer))
        });
        // The messages are decoded while the answers are polled.
        let mut answers = answers.boxed();
        let answers = futures_util::stream::poll_fn(move |context| match &decoding {
            Some(held) => held.while_decoding(|| answers.poll_next_unpin(context)),
            None => answers.poll_next_unpin(context),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answered<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let rows = statistics::list(&self.app, Some(&name), Some(&version)).map_err(refused)?;
        let model_stats = rows.into_iter().map(convert::statistics).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Answered<RepositoryIndexResponse> {
        let entries = repository::index(&self.app, request.into_inner().ready);
        let models = entries
            .into_iter()
            .map(|entry| ModelIndex {
                name: entry.name,
                version: entry.version.unwrap_or_default(),
                state: entry.state.into(),
                reason: entry.reason.into(),
            })
            .collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answered<RepositoryModelLoadResponse> {
        let (metadata, extensions, message) = request.into_parts();
        let by = self.administrator(metadata, &extensions, "RepositoryModelLoad")?;
        let parameters: Vec<_> = message.parameters.into_keys().collect();
        let loaded = repository::load(Arc::clone(&self.app), message.model_name, &parameters, by).await;
        loaded.map_err(refused)?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answered<RepositoryModelUnloadResponse> {
        let (metadata, extensions, message) = request.into_parts();
        let by = self.administrator(metadata, &extensions, "RepositoryModelUnload")?;
        repository::unload(Arc::clone(&self.app), message.model_name, by).await.map_err(refused)?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}
