//! Takes the tensors of a request for its shadow run.

use std::sync::Arc;

use plimsoll_runtime::stage::Request;
use plimsoll_runtime::tensor::Tensors;

use super::run::Job;
use super::{Claim, Shadows, size};
use crate::deploy::ServedPipeline;
use crate::records::shadow::{ChipPair, ShadowEnd, ShadowTap, Skipped};

/// The tensors of one request.
pub(super) struct Tap {
    shadows: Arc<Shadows>,
    pipeline: Arc<ServedPipeline>,
    request: Request,
    pair: ChipPair,
    /// `None` until the inputs are known, and after the run was skipped.
    claim: Option<Claim>,
    inputs: Tensors,
    outputs: Option<Tensors>,
}

impl Tap {
    pub(super) fn new(shadows: &Arc<Shadows>, pipeline: &Arc<ServedPipeline>, request: &Request, chip: &str) -> Self {
        let pair = ChipPair {
            pipeline: pipeline.name.clone(),
            version: pipeline.version.clone(),
            chip: chip.to_owned(),
            shadow: pipeline.shadow.as_ref().map_or_else(String::new, |shadow| shadow.chip.clone()),
        };
        Self {
            shadows: Arc::clone(shadows),
            pipeline: Arc::clone(pipeline),
            request: request.clone(),
            pair,
            claim: None,
            inputs: Tensors::new(),
            outputs: None,
        }
    }

    /// Releases what was kept.
    fn skip(&mut self, reason: Skipped) {
        (self.claim, self.outputs) = (None, None);
        self.inputs.clear();
        self.shadows.records.shadows.skip(&self.pair, reason);
    }
}

impl ShadowTap for Tap {
    fn inputs(&mut self, inputs: &Tensors, body: u64) {
        let Ok(place) = Arc::clone(&self.shadows.places).try_acquire_owned() else { return self.skip(Skipped::Queue) };
        let mut bytes = self.shadows.bytes.reserve();
        let parameters = self.request.parameters.iter().map(|(name, value)| name.len() + value.len());
        let parameters = parameters.sum::<usize>() as u64;
        if bytes.try_grow(size(inputs).saturating_add(body).saturating_add(parameters)).is_err() {
            return self.skip(Skipped::Bytes);
        }
        self.claim = Some(Claim { _place: place, bytes });
        // The bytes are shared.
        self.inputs.clone_from(inputs);
    }

    fn outputs(&mut self, chip: &str, outputs: &Tensors) {
        let Some(claim) = &mut self.claim else { return };
        chip.clone_into(&mut self.pair.chip);
        if *chip == self.pair.shadow {
            return self.skip(Skipped::SameChip);
        }
        if claim.bytes.try_grow(claim.bytes.bytes().saturating_add(size(outputs))).is_err() {
            return self.skip(Skipped::Bytes);
        }
        self.outputs = Some(outputs.clone());
    }

    fn ended(mut self: Box<Self>, end: ShadowEnd) {
        if self.claim.is_some() && self.outputs.is_none() {
            self.skip(Skipped::NoAnswer);
        }
        let Self { shadows, pipeline, request, pair, claim, inputs, outputs } = *self;
        let (Some(claim), Some(outputs)) = (claim, outputs) else { return };
        let ShadowEnd { time, recording } = end;
        let time = time.unwrap_or_default();
        let job = Job { pipeline, request, pair, claim, inputs, outputs, time, recording };
        shadows.start(job);
    }
}
