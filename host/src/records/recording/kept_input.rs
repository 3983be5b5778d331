//! The input of a request that runs. It is kept in memory until the request ends, because only then it is known whether
//! it is recorded.

use std::sync::Arc;

use bytes::Bytes;
use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Reply, Request, StageReport};

use super::facts::{Facts, ReplyFacts, is_recorded};
use super::recorder::InputRecorder;
use super::room::Room;

/// Why a capture was kept.
const CAPTURED: &str = "capture";

/// The parts of a recording that are not part of the record of the request.
pub(in crate::records) struct KeptInput {
    recorder: Arc<InputRecorder>,
    content_type: Option<String>,
    parameters: Vec<(String, String)>,
    body: Bytes,
    /// The stages whose high-water mark was the highest of their series so far.
    highest: Vec<StageName>,
}

/// A copy of a reply, with the room of the recording that it belongs to.
pub(in crate::records) type KeptReply = (ReplyFacts, Bytes, Room);

/// An input whose request has ended, and that may still be recorded. A clone shares the body.
#[derive(Clone)]
pub struct Recording {
    recorder: Arc<InputRecorder>,
    facts: Facts,
    body: Bytes,
}

impl Recording {
    /// Records the input for this reason.
    pub fn keep(self, reason: String) {
        let Some(room) = self.recorder.room(size(&self.body, &self.facts.parameters)) else { return };
        self.recorder.record(Facts { kept_for: vec![reason], ..self.facts }, &self.body, None, room);
    }

    /// Records the input with its reply, if it got one. The room of a recording with a reply was taken before the reply was
    /// copied.
    pub(in crate::records) fn capture(self, reply: Option<KeptReply>) {
        let (facts, bytes, room) = match reply {
            Some((facts, bytes, room)) => (Some(facts), Some(bytes), room),
            None => match self.recorder.room(size(&self.body, &self.facts.parameters)) {
                Some(room) => (None, None, room),
                None => return,
            },
        };
        let facts = Facts { kept_for: vec![CAPTURED.to_owned()], reply: facts, ..self.facts };
        self.recorder.record(facts, &self.body, bytes, room);
    }
}

/// The bytes of an input.
fn size(body: &[u8], parameters: &[(String, String)]) -> u64 {
    let parameters: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
    (body.len() + parameters) as u64
}

impl KeptInput {
    pub(in crate::records) fn new(recorder: &Arc<InputRecorder>, request: &Request, body: &Bytes) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            content_type: request.content_type.clone(),
            parameters: request.parameters.clone(),
            body: body.clone(),
            highest: Vec::new(),
        }
    }

    /// The bytes of the body.
    pub(in crate::records) fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    /// Copies a reply, if the input will find room with it.
    pub(in crate::records) fn with_reply(&self, reply: &Reply) -> Option<KeptReply> {
        let bytes = reply.body.len() as u64;
        let room = self.recorder.room(size(&self.body, &self.parameters) + bytes)?;
        let facts = ReplyFacts { content_type: reply.content_type.clone(), bytes };
        Some((facts, Bytes::copy_from_slice(&reply.body), room))
    }

    /// The input with its facts, for a decision after the end of the request. The body is shared.
    pub(in crate::records) fn recording(&self, facts: Facts) -> Recording {
        let Self { recorder, content_type, parameters, body, .. } = self;
        let facts = Facts { content_type: content_type.clone(), parameters: parameters.clone(), ..facts };
        Recording { recorder: Arc::clone(recorder), facts, body: body.clone() }
    }

    /// Notes that the high-water mark of a stage was the highest of its series so far.
    pub(in crate::records) fn add_highest(&mut self, stage: &StageName) {
        if !self.highest.contains(stage) {
            self.highest.push(stage.clone());
        }
    }

    /// Records the input if it set a new high-water mark, or if it ended in a memory limit, a deadline or a trap.
    pub(in crate::records) fn record(self, outcome: Outcome, stages: &[StageReport], facts: impl FnOnce() -> Facts) {
        let Self { recorder, content_type, parameters, body, highest } = self;
        let mut kept_for: Vec<_> = highest.iter().map(|stage| format!("high_water {stage}")).collect();
        let ended = stages.iter().map(|report| report.outcome).chain([outcome]).find(|outcome| is_recorded(*outcome));
        kept_for.extend(ended.map(|outcome| outcome.as_str().to_owned()));
        if !kept_for.is_empty()
            && let Some(room) = recorder.room(size(&body, &parameters))
        {
            recorder.record(Facts { content_type, parameters, kept_for, ..facts() }, &body, None, room);
        }
    }
}
