//! Deploys the files that a scan found. They are deployed one after another, in their order; but many files are read,
//! compiled and copied ahead of that, on as many threads as the machine has cores. What is prepared changes nothing: a file
//! whose preparation failed is deployed, or rejected, as if it had not been prepared.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use plimsoll_runtime::component::Preparer;

use super::deployments::Build;
use super::file_deployment::{Prepared, deploy_file, is_new};
use super::folder_look::{ComponentFile, Look};
use super::journal::Journal;
use super::needed::is_needed;
use super::newest_release::release_of_file;
use crate::base::file_access::in_haste;
use crate::config::Config;

/// From this number of files on, they are prepared.
const MANY: usize = 3;
/// The largest component that is prepared. The compiler needs much memory for a larger one, and uses all cores for it.
const MAX_BYTES: u64 = 1 << 20;
/// How many files may be prepared ahead of the one that is deployed. This bounds the memory and the disk for them.
const WINDOW: usize = 16;

/// Deploys files. Returns those that cannot be deployed now, with the reason.
pub(super) fn deploy_files(build: &Build<'_>, files: &[ComponentFile], look: &Look) -> Vec<(PathBuf, String)> {
    if files.len() < MANY {
        return deploy_each(build, files, look, |_| Prepared::default());
    }
    build.batch(|| {
        let ahead = Ahead::new(build, files, look);
        // After the threads have ended.
        let _forget = Forget(&ahead.preparer);
        scope(|scope| {
            let _end = End(&ahead);
            for number in 0..available_parallelism().map_or(1, usize::from) {
                // Without a thread a file is not prepared.
                let spawned =
                    Builder::new().name(format!("ahead-{number}")).spawn_scoped(scope, || ahead.prepare_files());
                ahead.lock().threads += usize::from(spawned.is_ok());
            }
            deploy_each(build, files, look, |at| ahead.take(at))
        })
    })
}

fn deploy_each(
    build: &Build<'_>,
    files: &[ComponentFile],
    look: &Look,
    prepared: impl Fn(usize) -> Prepared,
) -> Vec<(PathBuf, String)> {
    let mut failed = Vec::new();
    for (at, found) in files.iter().enumerate() {
        if let Err(error) = deploy_file(build, found, look, prepared(at)) {
            failed.push((found.path.clone(), error.to_string()));
        }
    }
    failed
}

/// The files that are prepared.
struct Ahead<'a> {
    build: &'a Build<'a>,
    files: &'a [ComponentFile],
    look: &'a Look,
    config: Arc<Config>,
    preparer: Arc<Preparer>,
    /// `None` if deployments are not remembered.
    journal: Option<Arc<Journal>>,
    state: Mutex<State>,
    /// Notified at every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    threads: usize,
    /// The next file to prepare.
    next: usize,
    /// The file that is being deployed.
    current: usize,
    prepared: BTreeMap<usize, Prepared>,
    /// True once nothing is deployed any more.
    is_over: bool,
}

impl<'a> Ahead<'a> {
    fn new(build: &'a Build<'a>, files: &'a [ComponentFile], look: &'a Look) -> Self {
        let (config, preparer, journal) = build.change(async |_, deployer| {
            (deployer.config().clone(), Arc::clone(deployer.builder.preparer()), deployer.journal.clone())
        });
        Self { build, files, look, config, preparer, journal, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares files until none is left.
    fn prepare_files(&self) {
        in_haste(|| {
            while let Some(at) = self.next() {
                // The deployment of this file panics in the same way, and is counted.
                let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(&self.files[at]))).unwrap_or_default();
                self.lock().prepared.insert(at, prepared);
                self.changed.notify_all();
            }
        });
    }

    /// The next file. Waits until it is near the one that is deployed.
    fn next(&self) -> Option<usize> {
        let is_early = |state: &mut State| !state.is_over && state.next >= state.current + WINDOW;
        let mut state = self.changed.wait_while(self.lock(), is_early).unwrap_or_else(PoisonError::into_inner);
        if state.is_over || state.next >= self.files.len() {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    fn prepare(&self, found: &ComponentFile) -> Prepared {
        if found.fingerprint.size() > MAX_BYTES {
            return Prepared::default();
        }
        let release = release_of_file(&self.config, found);
        let mut staged = None;
        if let Ok(release) = &release
            && is_new(self.build.serving(), found, self.look, release)
        {
            self.preparer.compile_ahead(&release.artifact, is_needed(&self.config, &found.name));
            staged = self.journal.as_ref().and_then(|journal| journal.stage(&release.artifact));
        }
        Prepared::new(release, staged)
    }

    /// What was prepared of a file, which is deployed now. Waits for it.
    fn take(&self, at: usize) -> Prepared {
        let mut state = self.lock();
        state.current = at;
        self.changed.notify_all();
        let is_missing = |state: &mut State| state.threads > 0 && !state.prepared.contains_key(&at);
        let mut state = self.changed.wait_while(state, is_missing).unwrap_or_else(PoisonError::into_inner);
        state.prepared.remove(&at).unwrap_or_default()
    }
}

/// Ends the preparation when it is dropped, also after a panic.
struct End<'a>(&'a Ahead<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

/// Drops what was compiled and not deployed when it is dropped, also after a panic.
struct Forget<'a>(&'a Preparer);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.forget_ahead();
    }
}
