//! A model on the CPU is loaded in a process of its own first, and by the server only if that went well. The libraries that run
//! models can be ended by a file of a few hundred bytes: constants of terabytes, a recursion that exhausts the stack, hours of
//! computation. No check inside of a process finds all of them; the end of another process does no harm.
//!
//! - `request`: what that process is asked and what it answers.
//! - `child`: starts the process, gives it the files, and ends it if it takes too long.
//! - `process`: that process. It does what the server then does: the session, and the first runs with every batch size.

mod child;
mod process;
mod request;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use bytesize::ByteSize;
use plimsoll_runtime::component::{CompiledCache, EntryName};
use plimsoll_runtime::nn::{Backend, BackendSettings, Device, ModelSource};
use plimsoll_runtime::text::shortened;

use self::child::Ended;
pub use self::process::answer;
use self::request::{Answer, Request};
use super::file_store_error::FileStoreError;
use crate::base::process::available_memory;
use crate::config;

/// A process with less memory would say nothing about a model.
const LEAST_MEMORY: u64 = 256 << 20;
/// How many times the memory of its files a model may take while it is loaded: they are read and converted, and the library
/// arranges the weights. With less than that, its end would say nothing about the model.
const COPIES: u64 = 8;

/// True if this program can be asked.
static IS_AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Says that this program has the command `load-model`. Without it, models are loaded at once: another program would do
/// something else with the argument.
pub fn enable() {
    IS_AVAILABLE.store(true, Relaxed);
}

/// A model that is to be loaded in a process of its own. Other devices than the CPU would hold it twice.
pub(super) struct FirstLoad<'a> {
    pub(super) source: &'a ModelSource,
    pub(super) wanted: &'a config::Model,
    /// The settings of the backend.
    pub(super) settings: &'a BackendSettings,
    /// Where relative paths in the settings start.
    pub(super) folder: &'a Path,
}

impl FirstLoad<'_> {
    /// Loads the model, unless that was done before according to `cache`. `digest` is that of the model's files.
    ///
    /// # Errors
    /// Why the model cannot be loaded, or the process cannot be started.
    pub(super) fn make(
        &self,
        digest: &str,
        backend: &dyn Backend,
        cache: Option<&CompiledCache>,
    ) -> Result<(), FileStoreError> {
        let Self { source, wanted, .. } = self;
        if !IS_AVAILABLE.load(Relaxed) || !wanted.trial_load || source.device != Device::Cpu {
            return Ok(());
        }
        let name = self.entry(digest, backend);
        // The server must be able to take memory meanwhile.
        let memory = available_memory().map(|available| available / 4 * 3);
        let fits = |peak: u64| memory.is_none_or(|memory| peak <= memory);
        if cache.and_then(|cache| cache.remembered(&name)).and_then(|peak| number(&peak)).is_some_and(fits) {
            return Ok(());
        }
        let files = source.bytes.len() + source.external.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let wants = LEAST_MEMORY.max((files as u64).saturating_mul(COPIES));
        if let Some(memory) = memory.filter(|memory| *memory < wants) {
            let (memory, wants) = (ByteSize::b(memory), ByteSize::b(wants));
            self.untried(&format!("of the available memory a process could take {memory}, and it wants {wants}"));
            return Ok(());
        }
        let since = Instant::now();
        let line =
            Request::line(source, wanted, self.settings, self.folder, memory).map_err(FileStoreError::NoProcess)?;
        let ended = match child::run(&line, source, wanted.load_deadline()) {
            Ok(ended) => ended,
            // A machine on which no program can start another one.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                self.untried(&format!("a process cannot be started here: {error}"));
                return Ok(());
            }
            Err(error) => return Err(FileStoreError::NoProcess(error)),
        };
        match &ended.answer {
            Some(Answer::Loaded { peak }) => {
                tracing::debug!(
                    "the model {} was loaded in a process of its own in {:.0?}",
                    source.name,
                    since.elapsed()
                );
                if let (Some(cache), Some(peak)) = (cache, peak) {
                    cache.remember(&name, peak.to_string().as_bytes());
                }
                Ok(())
            }
            Some(Answer::Refused(reason)) => {
                // Libraries report some of their allocations that fail.
                let memory = memory.filter(|_| reason.contains("alloc"));
                let memory = memory.map(|memory| format!(" (in a process that could take {})", ByteSize::b(memory)));
                Err(FileStoreError::Trial(format!("{reason}{}", memory.unwrap_or_default())))
            }
            None => Err(self.died(&ended, memory)),
        }
    }

    /// The name in the cache: everything that decides how the model is loaded.
    fn entry(&self, digest: &str, backend: &dyn Backend) -> EntryName {
        let Self { wanted, settings, folder, .. } = self;
        let batches = format!("{:?}", (wanted.max_batch, &wanted.batch_sizes, wanted.max_batch_unproven));
        let folder = if settings.is_null() { Path::new("") } else { *folder };
        let options = format!("{:?} {settings} {}", wanted.options(), folder.display());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = format!("{} {cores} {:?}", std::env::consts::ARCH, std::env::var_os("RTEN_NUM_THREADS"));
        let parts = [digest, &backend.description(), wanted.backend.as_str(), &batches, &options, &machine];
        EntryName::without_engine(&parts)
    }

    fn untried(&self, why: &str) {
        tracing::warn!(
            "model {}: it is loaded without a trial in a process of its own, which would find out whether it ends the server: \
             {why}. `trial_load = false` switches this warning off",
            self.source.name
        );
    }

    /// Why a process that gave no answer ended.
    fn died(&self, ended: &Ended, memory: Option<u64>) -> FileStoreError {
        let path = self.source.path.clone();
        let died = |reason: String, is_temporary: bool| FileStoreError::Died { path, reason, is_temporary };
        if let Some(deadline) = ended.given_up {
            return died(
                format!("it was not loaded after {deadline:?}; raise `load_deadline` if loading takes so long"),
                false,
            );
        }
        // The last line, without the hints of Rust's runtime.
        let mut lines = ended.complaints.lines().rev().map(str::trim);
        let said = lines.find(|line| !line.is_empty() && !line.starts_with("note: ")).map(shortened);
        let said = said.map(|said| format!(" and said: {said}")).unwrap_or_default();
        let limit =
            memory.map(|memory| format!("; it could take {} of memory", ByteSize::b(memory))).unwrap_or_default();
        let (signal, code) = (ended.status.and_then(|it| it.signal()), ended.status.and_then(|it| it.code()));
        match (signal, code) {
            // SIGKILL: the system or somebody ended it.
            (Some(signal), _) => {
                died(format!("the process that tried it ended by signal {signal}{said}{limit}"), signal == 9)
            }
            (None, code) => {
                let code = code.map(|code| format!(" with code {code}")).unwrap_or_default();
                FileStoreError::Untried(format!("the process ended{code}{said}"))
            }
        }
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    str::from_utf8(bytes).ok()?.parse().ok()
}
