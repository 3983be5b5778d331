//! Takes the tensors of a request for its shadow runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_runtime::kind::StageName;
use plimsoll_runtime::stage::Request;
use plimsoll_runtime::tensor::{Tensor, Tensors};

use super::run::Job;
use super::{Claim, Shadows, size};
use crate::deploy::ServedPipeline;
use crate::records::recording::Recording;
use crate::records::shadow::{ChipPair, ShadowTap, Skipped};

/// Maximum number of items of one request that are compared for a step. A caller chooses how many there are, and one request
/// must not take the room of all others.
const MAX_ITEMS: usize = 8;

/// The tensors of one request.
pub(super) struct Tap {
    shadows: Arc<Shadows>,
    pipeline: Arc<ServedPipeline>,
    request: Request,
    /// The chip that the request was routed to.
    chip: String,
    /// The bytes that each run keeps besides tensors: parameters, and the body if it may be recorded.
    kept: u64,
    /// The runs that are compared; `None` when the request has ended.
    runs: Mutex<Option<Vec<Run>>>,
}

/// A run of an infer stage.
struct Run {
    pair: ChipPair,
    item: Option<usize>,
    /// `None` after it was skipped.
    kept: Option<Kept>,
}

struct Kept {
    claim: Claim,
    inputs: Tensors,
    /// With the time of the run.
    outputs: Option<(Tensors, Duration)>,
}

impl Tap {
    pub(super) fn new(
        shadows: &Arc<Shadows>,
        pipeline: &Arc<ServedPipeline>,
        request: &Request,
        chip: &str,
        body: u64,
    ) -> Self {
        let parameters = request.parameters.iter().map(|(name, value)| name.len() + value.len());
        Self {
            shadows: Arc::clone(shadows),
            pipeline: Arc::clone(pipeline),
            request: request.clone(),
            chip: chip.to_owned(),
            kept: body.saturating_add(parameters.sum::<usize>() as u64),
            runs: Mutex::new(Some(Vec::new())),
        }
    }

    fn runs(&self) -> MutexGuard<'_, Option<Vec<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skip(&self, pair: &ChipPair, reason: Skipped) {
        self.shadows.records.shadows.skip(pair, reason);
    }

    /// Takes a place and bytes for the inputs.
    fn claim(&self, inputs: &Tensors) -> Result<Claim, Skipped> {
        let place = Arc::clone(&self.shadows.places).try_acquire_owned().map_err(|_| Skipped::Queue)?;
        let mut bytes = self.shadows.bytes.reserve();
        bytes.try_grow(size(inputs).saturating_add(self.kept)).map_err(|_| Skipped::Bytes)?;
        Ok(Claim { _place: place, bytes })
    }
}

/// The same bytes, which no longer count for the request.
fn shared(tensors: &Tensors) -> Tensors {
    let shared = |(name, it): &(String, Tensor)| {
        (name.clone(), Tensor::with_bytes(it.dimensions.clone(), it.ty, it.data.clone()))
    };
    tensors.iter().map(shared).collect()
}

impl ShadowTap for Tap {
    fn inputs(&self, stage: &StageName, item: Option<usize>, inputs: &Tensors) -> Option<usize> {
        let shadow = self.pipeline.shadows.iter().find(|shadow| shadow.stage == *stage)?;
        if shadow.chip == self.chip || !shadow.takes_next() {
            return None;
        }
        let pair = ChipPair {
            pipeline: self.pipeline.name.clone(),
            version: self.pipeline.version.clone(),
            stage: stage.to_string(),
            chip: self.chip.clone(),
            shadow: shadow.chip.clone(),
        };
        let mut runs = self.runs();
        let runs = runs.as_mut()?;
        if runs.iter().filter(|run| run.pair.stage == pair.stage).count() >= MAX_ITEMS {
            self.skip(&pair, Skipped::Items);
            return None;
        }
        match self.claim(inputs) {
            Ok(claim) => {
                let kept = Some(Kept { claim, inputs: shared(inputs), outputs: None });
                runs.push(Run { pair, item, kept });
                Some(runs.len() - 1)
            }
            Err(reason) => {
                self.skip(&pair, reason);
                None
            }
        }
    }

    fn outputs(&self, run: usize, chip: &str, outputs: &Tensors, time: Duration) {
        let mut runs = self.runs();
        let Some(Run { pair, kept, .. }) = runs.as_mut().and_then(|runs| runs.get_mut(run)) else { return };
        let Some(Kept { claim, outputs: answer, .. }) = kept else { return };
        chip.clone_into(&mut pair.chip);
        let skipped = if *chip == pair.shadow {
            Some(Skipped::SameChip)
        } else {
            let bytes = claim.bytes.bytes().saturating_add(size(outputs));
            claim.bytes.try_grow(bytes).is_err().then_some(Skipped::Bytes)
        };
        match skipped {
            None => *answer = Some((shared(outputs), time)),
            Some(reason) => {
                *kept = None;
                self.skip(pair, reason);
            }
        }
    }

    fn ended(&self, recording: &mut dyn FnMut() -> Option<Recording>) {
        let runs = self.runs().take().unwrap_or_default();
        let mut recording_of_all = None;
        for Run { pair, item, kept } in runs {
            let Some(Kept { claim, inputs, outputs }) = kept else { continue };
            let Some((outputs, time)) = outputs else {
                self.skip(&pair, Skipped::NoAnswer);
                continue;
            };
            let recording = recording_of_all.get_or_insert_with(&mut *recording).clone();
            let (pipeline, request) = (Arc::clone(&self.pipeline), self.request.clone());
            self.shadows.start(Job { pipeline, request, pair, item, claim, inputs, outputs, time, recording });
        }
    }
}
