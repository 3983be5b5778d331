//! What is known about a loaded model, for reports and checks.

use super::LoadedModel;
use crate::nn::agreement::Agreement;
use crate::nn::batch::{self, BatchRules};
use crate::nn::chip::Placement;
use crate::nn::memory::DeviceMemory;
use crate::nn::model::Signature;

impl LoadedModel {
    /// The memory that the model holds on its device. `None` if it was not measured.
    pub fn memory(&self) -> Option<DeviceMemory> {
        Some(self.memory.as_ref()?.read(self.model.arenas(), self.model.properties().is_in_host_memory))
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much the outputs differ from those on the CPU; `None` if they were not compared.
    pub fn agreement(&self) -> Option<Agreement> {
        self.agreement
    }

    /// The name of the backend.
    pub fn backend(&self) -> &str {
        &self.runs_on.0
    }

    /// The target: `cpu`, `cuda:0`, or the name of a chip.
    pub fn target(&self) -> &str {
        &self.runs_on.1
    }

    /// Which execution providers compute how many nodes; empty if the backend computes all of them on the CPU.
    pub fn placement(&self) -> &[Placement] {
        &self.model.properties().placement
    }

    /// The library's name of the memory to which the inputs and outputs of runs are bound; `None` if they are not bound.
    pub fn bound_to(&self) -> Option<&str> {
        self.model.properties().bound_to.as_deref()
    }

    /// What the device may compute differently from ONNX.
    pub fn differences(&self) -> &[String] {
        &self.differences
    }

    /// The input that makes every run prepare the device again, because it has dynamic dimensions besides the rows.
    pub fn input_with_new_shapes(&self) -> Option<&str> {
        batch::input_with_new_shapes(&*self.model, self.batcher.is_some()).map(|input| input.name.as_str())
    }

    /// Returns false while the device fails: every run is refused.
    pub fn is_in_service(&self) -> bool {
        self.health.refusal().is_none()
    }

    /// Runs that have not ended in time, and hold their sessions.
    pub fn hung_runs(&self) -> u64 {
        self.health.hung_runs()
    }

    /// The inputs of a run.
    pub fn inputs(&self) -> &[Signature] {
        self.model.inputs()
    }

    /// The outputs of a run.
    pub fn outputs(&self) -> &[Signature] {
        self.model.outputs()
    }

    /// The rules of its batches, if runs are combined.
    pub fn batch_rules(&self) -> Option<BatchRules> {
        self.batch_rules
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
