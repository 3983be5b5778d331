//! A simulated device: what it answers, and what it saw.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// The shapes of the inputs of a run.
pub(super) type Shapes = Vec<Vec<u32>>;

/// What the device answers instead of computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// It computes.
    #[default]
    None,
    /// It is lost.
    Lost,
    /// It computes without end, until the fault is another one.
    Hangs,
    /// Its memory holds runs of at most this many rows.
    Memory(u32),
}

/// A simulated device.
#[derive(Default)]
pub struct Device {
    state: Mutex<State>,
    /// Held while the device computes.
    pub(super) busy: Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) fault: Fault,
    pub(super) new_shapes: Vec<Shapes>,
    /// The rows of every run.
    pub(super) runs: Vec<u32>,
    /// The rows of the runs whose inputs were in reserved buffers.
    pub(super) reserved: u32,
    /// The runs that copied their inputs while another one computed.
    pub(super) overlaps: u32,
    pub(super) computing: u32,
}

impl Device {
    /// The device of a name; the first call makes it. Adds the backend to the list.
    pub fn of(name: &str) -> Arc<Self> {
        super::add();
        Self::named(name)
    }

    pub(super) fn named(name: &str) -> Arc<Self> {
        static DEVICES: LazyLock<Mutex<HashMap<String, Arc<Device>>>> = LazyLock::new(Mutex::default);
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(devices.entry(name.to_owned()).or_default())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what the device answers from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Returns true while a run computes, or hangs.
    pub fn is_computing(&self) -> bool {
        self.state().computing > 0
    }

    /// Returns the shapes that were new for a session, once for each session, since the last call, and clears the list.
    pub fn take_new_shapes(&self) -> Vec<Shapes> {
        std::mem::take(&mut self.state().new_shapes)
    }

    /// Returns the rows of the runs since the last call whose inputs were in reserved buffers, and clears the number.
    pub fn take_reserved(&self) -> u32 {
        std::mem::take(&mut self.state().reserved)
    }

    /// Returns how many runs since the last call copied their inputs while another one computed, and clears the number.
    pub fn take_overlaps(&self) -> u32 {
        std::mem::take(&mut self.state().overlaps)
    }

    /// Returns the number of rows of each run since the last call, and clears the list.
    pub fn take_runs(&self) -> Vec<u32> {
        std::mem::take(&mut self.state().runs)
    }
}
