//! The served state, and the only way to change it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};

use plimsoll_runtime::engine::Runtime;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinError, JoinHandle};

use super::deployer::Deployer;
use super::durability::keep_copies;
use super::fleet::Fleet;
use super::freed_memory::FreedMemory;
use super::journal::Journal;
use super::journal_writer::{JournalWriter, Ticket};
use super::lost_copies::{LostCopies, Untried};
use super::read_ahead::ReadAhead;
use super::rehearsed::Rehearsed;
use super::serving::Serving;
use crate::base::allocator;
use crate::config::{Config, ConfigError};
use crate::records::Records;

/// The served state, with the deployer that changes it.
pub struct Deployments {
    /// The served pipelines, and the catalog of plugins.
    pub serving: Arc<Serving>,
    /// Locked during a change, so that there is one change at a time. Nothing slow is done under this lock.
    deployer: Mutex<Deployer>,
    /// Locked during a change that compiles, so that only one at a time needs memory for it. Nothing is pulled under this
    /// lock. Component files, and the files of a new configuration ([`super::read_ahead`]), are read before it is taken.
    builds: Arc<Mutex<()>>,
    /// Writes the journal; `None` if deployments are not remembered.
    writer: Option<Arc<JournalWriter>>,
    /// The folder of the journal and of the copies; `None` as above.
    journal: Option<Arc<Journal>>,
    lost_copies: Arc<LostCopies>,
    freed: FreedMemory,
    /// Locked by the uploads of one plugin, so that they are deployed in the order in which they were received.
    uploads: StdMutex<BTreeMap<String, Weak<Mutex<()>>>>,
}

impl Deployments {
    /// Builds everything that the configuration names. If `remembers` is true, the deployments in the journal of the
    /// data folder continue, and new deployments are written to it.
    ///
    /// # Errors
    /// If something cannot be served: file, key and reason of the first error.
    pub async fn start(
        runtime: &Runtime,
        config: &Config,
        remembers: bool,
        records: Arc<Records>,
    ) -> Result<Self, ConfigError> {
        let (mut deployer, catalog, served) = Deployer::start(runtime, config, remembers, &records).await?;
        let fleet = Fleet::new(&config.fleet).filter(|_| remembers);
        let serving = Arc::new(Serving::new(served, catalog, records, fleet));
        deployer.finish_start(&serving).await;
        deployer.finish_build();
        allocator::trim();
        let (writer, journal, uploads) = (deployer.writer.clone(), deployer.journal.clone(), StdMutex::default());
        let lost_copies = Arc::clone(&deployer.lost_copies);
        let builds = Arc::new(Mutex::new(()));
        // Only one at a time compiles, and a canary does not compare optimised with quickly compiled code.
        deployer.builder.preparer().optimise_later(Arc::clone(&builds).lock_owned().await);
        let deployer = Mutex::new(deployer);
        let freed = FreedMemory::default();
        Ok(Self { serving, deployer, builds, writer, journal, lost_copies, freed, uploads })
    }

    /// The state that was handed in last for the journal, for the end of the server.
    pub fn latest_state(&self) -> Option<Ticket> {
        self.writer.as_ref().map(|writer| writer.latest())
    }

    /// Waits until the earlier uploads of a plugin are deployed or rejected, and keeps the later ones waiting until the
    /// result is dropped. Uploads of other plugins do not wait.
    pub async fn upload_turn(&self, plugin: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            uploads.retain(|_, turn| turn.strong_count() > 0);
            let known = uploads.get(plugin).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                uploads.insert(plugin.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    /// Makes a change that neither pulls nor compiles, on a separate thread, because it may read files. Waits until the
    /// change before it ends, but not for a [`Deployments::build`]. The change is completed even if the caller
    /// disconnects.
    ///
    /// # Panics
    /// If the change panics.
    pub async fn change<R: Send + 'static>(
        self: Arc<Self>,
        work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R + Send + 'static,
    ) -> R {
        let runtime = tokio::runtime::Handle::current();
        let changed = tokio::task::spawn_blocking(move || {
            Build { deployments: &self, runtime: &runtime, turn: Turn::NotNeeded }.change(work)
        });
        finished(changed).await
    }

    /// Makes a change that usually compiles nothing, such as a rollback: what it needs is kept, except after a restart. So
    /// it is rehearsed first, without the lock, but does not wait for a [`Deployments::build`]. The change is completed
    /// even if the caller disconnects.
    ///
    /// # Panics
    /// If the change panics.
    pub async fn rehearsed_change<R: Send + 'static>(
        self: Arc<Self>,
        rehearse: impl AsyncFn(&Serving, &mut Deployer) + Send + 'static,
        work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R + Send + 'static,
    ) -> R {
        let runtime = tokio::runtime::Handle::current();
        let changed = tokio::task::spawn_blocking(move || {
            let turn = self.builds.try_lock();
            let turn = if turn.is_ok() { Turn::Taken } else { Turn::NotNeeded };
            Build { deployments: &self, runtime: &runtime, turn }.make(&rehearse, work)
        });
        finished(changed).await
    }

    /// Makes changes that may compile, on a separate thread. Changes of several callers are made one after another. They
    /// are completed even if the caller disconnects. What `work` does between its changes delays no other change.
    ///
    /// # Panics
    /// If a change panics.
    pub async fn build<R: Send + 'static>(self: Arc<Self>, work: impl FnOnce(&Build<'_>) -> R + Send + 'static) -> R {
        let runtime = tokio::runtime::Handle::current();
        let built = tokio::task::spawn_blocking(move || {
            work(&Build { deployments: &self, runtime: &runtime, turn: Turn::ForEachChange })
        });
        finished(built).await
    }

    /// Makes a change with the locked deployer, then frees what only the change needed. `is_alone` is true if no other
    /// change may be compiling. Also returns what must be written to the disk without the lock.
    fn make_change<R>(
        &self,
        runtime: &Handle,
        deployer: &mut Deployer,
        is_alone: bool,
        work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R,
    ) -> (R, Untried) {
        let before = self.serving.served.load_full();
        let result = runtime.block_on(work(&self.serving, deployer));
        let is_changed = !Arc::ptr_eq(&before, &self.serving.served.load());
        // What is not needed is removed from the disk without the lock.
        self.lost_copies.keep_staged(deployer.rehearsed.take_all_staged());
        deployer.rehearsed = Rehearsed::default();
        deployer.builder.forget_read();
        drop(before);
        if (is_alone && deployer.finish_build()) || is_changed {
            self.freed.note();
        }
        (result, self.lost_copies.take_untried())
    }
}

impl Deployments {
    /// Writes the copies that a change has noted, without its lock, and hands in the state that names them.
    fn keep_copies(&self, runtime: &Handle, untried: Untried) {
        let Some(journal) = &self.journal else { return };
        let mut next = Some(untried);
        // Another change may have made a release of the same component meanwhile.
        while let Some(untried) = next.take().filter(|untried| !untried.digests().is_empty()) {
            keep_copies(journal, &self.serving, (&self.lost_copies, untried), || {
                let deployer = runtime.block_on(self.deployer.lock());
                deployer.write_journal(&self.serving);
                next = Some(self.lost_copies.take_untried());
            });
        }
    }
}

/// Waits for a change. If the change panicked, the panic continues here; it was already counted.
async fn finished<R>(change: JoinHandle<R>) -> R {
    match change.await.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends, and nothing waits for the result any more.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Makes changes that may compile.
pub struct Build<'a> {
    deployments: &'a Deployments,
    runtime: &'a Handle,
    turn: Turn,
}

/// Whether a change has [`Deployments::builds`], so that no other change may be compiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is locked already.
    Taken,
    /// The change does not wait for it.
    NotNeeded,
    /// Each change waits for it.
    ForEachChange,
}

impl Build<'_> {
    /// How often a rehearsal is repeated because another change was made meanwhile. The repetitions are short, because
    /// the parts are already built.
    const REHEARSALS: usize = 3;

    /// The served state.
    pub fn serving(&self) -> &Serving {
        &self.deployments.serving
    }

    /// The runtime of the server.
    pub fn runtime(&self) -> &Handle {
        self.runtime
    }

    /// Makes many changes in `work`.
    pub(super) fn batch<R>(&self, work: impl FnOnce() -> R) -> R {
        self.deployments.freed.batch(work)
    }

    /// Makes a change that neither pulls nor compiles.
    pub fn change<R>(&self, work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R) -> R {
        let (result, untried) = {
            let mut deployer = self.runtime.block_on(self.deployments.deployer.lock());
            let turn = self.deployments.builds.try_lock();
            let is_alone = turn.is_ok() || self.turn == Turn::Taken;
            self.deployments.make_change(self.runtime, &mut deployer, is_alone, work)
        };
        self.deployments.keep_copies(self.runtime, untried);
        result
    }

    /// Reads the files that a configuration names, for a change that will serve it. No change waits for that.
    pub(super) fn read_ahead(&self, config: &Config) -> Arc<ReadAhead> {
        let loaded = self.change(async |_, deployer| deployer.builder.loaded_models(config));
        Arc::new(ReadAhead::read(config, &loaded))
    }

    /// Makes a change that may compile. It is first rehearsed on a copy of the deployer, without the lock. This
    /// compiles what is new, so that the change itself takes only milliseconds. If what is served has changed
    /// meanwhile, the rehearsal is repeated.
    pub fn make<R>(
        &self,
        rehearse: &impl AsyncFn(&Serving, &mut Deployer),
        work: impl AsyncFnOnce(&Serving, &mut Deployer) -> R,
    ) -> R {
        let Self { deployments, runtime, turn } = self;
        let taken = (*turn == Turn::ForEachChange).then(|| runtime.block_on(deployments.builds.lock()));
        let is_alone = taken.is_some() || *turn == Turn::Taken;
        let serving = self.serving();
        let mut rehearsed = Rehearsed::begin();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (mut rehearsal, before) = {
                let deployer = runtime.block_on(deployments.deployer.lock());
                (deployer.rehearsal(rehearsed), serving.served.load_full())
            };
            // A rehearsal that panics is not repeated. The change continues the panic, so its caller records it.
            let rehearsing = || runtime.block_on(rehearse(serving, &mut rehearsal));
            let result = catch_unwind(AssertUnwindSafe(rehearsing));
            let has_panicked = result.is_err();
            rehearsed = match result {
                Ok(()) => rehearsal.end_rehearsal(),
                Err(panic) => Rehearsed::panicked(panic),
            };
            let mut deployer = runtime.block_on(deployments.deployer.lock());
            let is_current = Arc::ptr_eq(&before, &serving.served.load());
            if !is_current {
                rehearsed.forget_trials();
            }
            if is_current || has_panicked || attempt == Self::REHEARSALS {
                deployer.rehearsed = rehearsed;
                let (result, untried) = deployments.make_change(runtime, &mut deployer, is_alone, work);
                drop((deployer, taken));
                deployments.keep_copies(runtime, untried);
                return result;
            }
        }
    }
}
