//! The error of a request, independent of the transport. HTTP (`problem.rs`) and gRPC (`grpc/error.rs`) each have one
//! function that maps [`ErrorKind`] to a status.

use plimsoll_runtime::kind::{StageKind, StageName};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::pipeline::PipelineError;

use crate::deploy::{ChangeError, NotServed};

/// The kind of an error. It decides the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed, or its body ended early.
    InvalidRequest,
    /// A query parameter is unknown, or its value is not valid.
    InvalidParameter,
    /// A tensor of the caller does not match the model.
    TensorMismatch,
    /// A form does not contain exactly one image.
    UnsuitableForm,
    /// The body has a `Content-Encoding` that is not supported.
    UnsupportedEncoding,
    /// The body has a `Transfer-Encoding` that is not supported.
    UnsupportedTransferCoding,
    /// The body is too large.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// There is no such pipeline, chip, model, plugin or route.
    NotFound,
    /// The route does not support this method.
    MethodNotAllowed,
    /// The request names a host that is not a name of the server.
    MisdirectedRequest,
    /// The token of administration, or the key of a caller, is missing or wrong.
    Unauthorized,
    /// Another change, or the current state, prevents the change.
    Conflict,
    /// A release was rejected.
    PluginRejected,
    /// A restart would forget the change.
    NotDurable,
    /// A limit on requests was reached.
    Overloaded,
    /// The caller has reached its limit; it may try again after this many seconds.
    CallerLimit(u32),
    /// The deadline passed in the queue.
    QueueDeadline,
    /// The server failed because of an error in its own code.
    Internal,
    /// A stage of this kind ended with this outcome.
    Stage(StageKind, Outcome),
}

impl ErrorKind {
    /// The outcome under which a request with this error is counted.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::InvalidRequest
            | Self::InvalidParameter
            | Self::TensorMismatch
            | Self::UnsuitableForm
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::MisdirectedRequest
            | Self::Unauthorized
            | Self::Conflict
            | Self::PluginRejected => Outcome::InvalidInput,
            Self::UnsupportedEncoding | Self::UnsupportedTransferCoding => Outcome::UnsupportedMediaType,
            Self::BodyTooLarge => Outcome::TooLarge,
            Self::BodyTimeout | Self::QueueDeadline => Outcome::Deadline,
            Self::Overloaded | Self::NotDurable | Self::CallerLimit(_) => Outcome::NoCapacity,
            Self::Internal => Outcome::Internal,
            Self::Stage(_, outcome) => outcome,
        }
    }
}

/// A request that failed.
#[derive(Debug)]
pub struct ServeError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The message for the caller.
    pub detail: String,
    /// The stage or image in which the error happened. Boxed, so that a `Result` with this error stays small.
    pub location: Option<Box<ErrorLocation>>,
    /// The request's id, if it has one.
    pub request_id: Option<String>,
}

/// The stage or image in which an error happened.
#[derive(Debug, Default)]
pub struct ErrorLocation {
    /// The stage.
    pub stage: Option<StageLocation>,
    /// The image of a batch, from 0.
    pub index: Option<usize>,
    /// The item for which a step failed, from 0.
    pub item: Option<usize>,
}

/// The stage in which an error happened.
#[derive(Debug)]
pub struct StageLocation {
    /// The stage.
    pub stage: StageName,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The limit that was exceeded, in bytes.
    pub limit_bytes: Option<u64>,
    /// The high-water mark of the run in bytes, if a limit was exceeded.
    pub high_water_bytes: Option<u64>,
}

impl ServeError {
    /// An error outside of any stage.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), location: None, request_id: None }
    }

    /// A malformed request.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, detail)
    }

    /// The requested thing does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    /// The error of a stage that failed. `high_water` is the high-water mark of its linear memory, in bytes.
    pub fn from_stage(failed: &PipelineError, high_water: u64) -> Self {
        let PipelineError { stage, item, error } = failed;
        let detail = match item {
            Some(item) => format!("item {item}, step `{}`: {}", stage.name, error.public),
            None => error.public.clone(),
        };
        let location = StageLocation {
            stage: stage.name.clone(),
            plugin: stage.plugin.name.to_string(),
            version: stage.plugin.version.to_string(),
            limit_bytes: error.limit,
            high_water_bytes: error.limit.map(|_| high_water),
        };
        Self {
            location: Some(Box::new(ErrorLocation { stage: Some(location), index: None, item: *item })),
            ..Self::new(ErrorKind::Stage(stage.kind, error.outcome), detail)
        }
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Prefixes the detail with `what`.
    #[must_use]
    pub fn prefixed(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail);
        self
    }

    /// Adds the index of the image in its batch, from 0.
    #[must_use]
    pub fn with_index(mut self, index: usize) -> Self {
        self.location.get_or_insert_default().index = Some(index);
        self
    }

    /// Adds the request's id.
    #[must_use]
    pub fn for_request(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }
}

impl From<NotServed> for ServeError {
    fn from(error: NotServed) -> Self {
        Self::not_found(error.to_string())
    }
}

impl From<ChangeError> for ServeError {
    fn from(error: ChangeError) -> Self {
        let kind = match &error {
            ChangeError::Rejected { .. } => ErrorKind::PluginRejected,
            ChangeError::NotFound(_) => ErrorKind::NotFound,
            ChangeError::Conflict(_) => ErrorKind::Conflict,
            ChangeError::NotDurable { .. } => ErrorKind::NotDurable,
            ChangeError::NoCapacity { .. } => ErrorKind::Overloaded,
        };
        Self::new(kind, error.to_string())
    }
}
