//! The memory that a model holds on its device.
//!
//! The library's statistics say it exactly where the device has a memory of its own and the library's allocator (the
//! arena) takes all of it. On the CPU they do not: weights that a library does not rearrange are outside of the arena. There
//! the growth of resident memory while the model was loaded is the figure, and the arena adds what runs took since.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the allocators of a library have taken for a model, in bytes. `None` where the library has no statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArenaSizes {
    /// In the memory of the CPU.
    pub host: Option<u64>,
    /// In the memories of other devices.
    pub device: Option<u64>,
}

/// Where the figure of a model's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemorySource {
    /// The statistics of the library's allocators for the device.
    Arena,
    /// The growth of the process's resident memory while the model was loaded and prepared.
    Resident,
    /// The size of the model's files, for each copy of its weights: a lower bound, if nothing else is known.
    File,
}

impl MemorySource {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arena => "arena",
            Self::Resident => "resident",
            Self::File => "file",
        }
    }

    /// What the figure is, for messages.
    pub fn explained(self) -> &'static str {
        match self {
            Self::Arena => "by the statistics of the library",
            Self::Resident => "by the growth of resident memory while it was loaded",
            Self::File => "by the size of its files, because the device has no statistics",
        }
    }
}

/// What was known when a model was loaded.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadFigures {
    /// The growth of the process's resident memory, if the operating system reports it.
    pub resident: Option<u64>,
    /// The size of the model's files.
    pub files: u64,
}

/// The memory of a model on its device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What it held when it was admitted: loaded and prepared for its batch sizes.
    pub admitted: u64,
    /// What it holds now.
    pub now: u64,
    /// The most that it held.
    pub high_water: u64,
    /// Where the figures come from.
    pub source: MemorySource,
}

/// The memory of a model since it was admitted.
#[derive(Debug)]
pub(super) struct MemoryMeter {
    admitted: u64,
    source: MemorySource,
    /// The arena of the CPU at admission.
    host: u64,
    high_water: AtomicU64,
}

impl MemoryMeter {
    /// `copies` of the weights are on the device, whose memory is that of the CPU if `is_host`.
    pub(super) fn new(loaded: LoadFigures, arenas: ArenaSizes, is_host: bool, copies: usize) -> Self {
        let files = loaded.files.saturating_mul(copies as u64);
        let (known, source) = match is_host {
            true => (loaded.resident, MemorySource::Resident),
            false => (arenas.device, MemorySource::Arena),
        };
        // Memory that the process had freed before does not grow when it is used again, and some providers allocate
        // outside of the arena. The weights are somewhere.
        let (admitted, source) = match known {
            Some(known) if known >= files => (known, source),
            _ => (files, MemorySource::File),
        };
        Self { admitted, source, host: arenas.host.unwrap_or(0), high_water: AtomicU64::new(admitted) }
    }

    /// The figures with what the library says now.
    pub(super) fn read(&self, arenas: ArenaSizes, is_host: bool) -> DeviceMemory {
        let now = match (self.source, is_host) {
            (MemorySource::Arena, _) => arenas.device.unwrap_or(self.admitted),
            (_, true) => self.admitted.saturating_add(arenas.host.unwrap_or(0).saturating_sub(self.host)),
            (_, false) => self.admitted,
        };
        let high_water = self.high_water.fetch_max(now, Relaxed).max(now);
        DeviceMemory { admitted: self.admitted, now, high_water, source: self.source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ArenaSizes = ArenaSizes { host: None, device: None };

    fn figures(resident: Option<u64>, files: u64) -> LoadFigures {
        LoadFigures { resident, files }
    }

    #[test]
    fn a_model_on_the_cpu_holds_what_the_process_grew_by_and_what_its_runs_took() {
        let host = |bytes| ArenaSizes { host: Some(bytes), device: None };
        let meter = MemoryMeter::new(figures(Some(45), 40), host(7), true, 1);
        let at_admission = meter.read(host(7), true);
        assert_eq!((at_admission.now, at_admission.source), (45, MemorySource::Resident));
        assert_eq!(meter.read(host(17), true).now, 55);
        let shrunk = meter.read(host(9), true);
        assert_eq!((shrunk.admitted, shrunk.now, shrunk.high_water), (45, 47, 55));
        // Without statistics the figure stays.
        let meter = MemoryMeter::new(figures(Some(45), 40), NONE, true, 1);
        assert_eq!(meter.read(NONE, true).now, 45);
    }

    #[test]
    fn the_weights_are_the_least_that_a_model_holds() {
        for (resident, is_host) in [(Some(3), true), (None, true), (Some(900), false)] {
            let memory = MemoryMeter::new(figures(resident, 40), NONE, is_host, 2).read(NONE, is_host);
            assert_eq!((memory.now, memory.high_water, memory.source), (80, 80, MemorySource::File));
        }
    }

    #[test]
    fn a_device_with_its_own_memory_is_measured_by_the_statistics_of_the_library() {
        let arenas = |device| ArenaSizes { host: Some(1_000), device: Some(device) };
        let meter = MemoryMeter::new(figures(Some(500), 40), arenas(41), false, 1);
        assert_eq!(meter.read(arenas(41), false).source, MemorySource::Arena);
        assert_eq!(meter.read(arenas(60), false).now, 60);
        let memory = meter.read(arenas(50), false);
        assert_eq!((memory.admitted, memory.now, memory.high_water), (41, 50, 60));
        // Not what the provider allocates past the arena.
        let memory = MemoryMeter::new(figures(Some(500), 40), arenas(2), false, 1).read(arenas(2), false);
        assert_eq!((memory.now, memory.source), (40, MemorySource::File));
    }
}
