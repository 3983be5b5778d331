//! Forms the batches of one model: decides when a batch ends its admission, and sends it to the backend.
//!
//! Rows are written into the batch when they arrive, so that one batch is gathered while another one computes. A batch
//! ends its admission as late as possible: when it is full, or when the backend can compute it. On a device that
//! computes one run after another, a batch that is not full would only wait there, and the rows that arrive meanwhile
//! would have to wait for the next one; so it stays open until the device is free. A full batch is sent at once, so
//! that its rows are on their way to the device while the device computes. So is one that was overtaken often, by full batches of
//! other shapes.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::answer::{Answered, answer_batch};
use super::buffers::SpareBuffers;
use super::cost::RunCost;
use super::observer::BatchObserver;
use super::open::OpenBatch;
use super::open_batches::OpenBatches;
use super::rules::{BatchRules, HeldPermits};
use super::sizes::BatchSizes;
use super::waiting::Waiting;
use crate::cap::BatchWait;
use crate::nn::model::Model;

/// After this time without a run, the buffers of earlier batches are returned.
const IDLE: Duration = Duration::from_secs(1);

/// A model whose runs can be batched.
pub(in crate::nn) struct Admitted {
    /// The model that batches run on.
    pub(super) model: Arc<dyn Model>,
    /// The numbers of rows that batches are padded to.
    pub(super) sizes: Option<BatchSizes>,
    /// What runs cost.
    pub(super) cost: RunCost,
}

impl Admitted {
    /// The model that batches run on.
    pub(in crate::nn) fn model(&self) -> Arc<dyn Model> {
        Arc::clone(&self.model)
    }
}

/// Forms the batches of one model.
struct Former<'a> {
    model: &'a Arc<dyn Model>,
    sizes: Option<&'a BatchSizes>,
    rules: BatchRules,
    observer: &'a dyn BatchObserver,
    /// Kept if the former is made again after a panic.
    cost: &'a mut RunCost,
    open: OpenBatches,
    spare: SpareBuffers,
    /// The permits for the next batch, and since when they are held.
    held: Option<(HeldPermits, Instant)>,
    in_flight: usize,
    /// The number of batches that were sent. If it changes during a run, the run shared the device, so its time says nothing.
    sent: u64,
    /// No more runs will come.
    is_ending: bool,
    ended: mpsc::UnboundedSender<EndedRun>,
}

/// A batch that the backend has answered.
struct EndedRun {
    /// The rows and the time of the run, if it succeeded.
    measured: Option<(u32, Duration)>,
    /// The number of the batch.
    number: u64,
    was_alone: bool,
    buffers: Vec<Vec<u8>>,
}

/// Reports the end of a batch when it is dropped, also after a panic.
struct EndOnDrop(mpsc::UnboundedSender<EndedRun>, Option<EndedRun>);

impl EndOnDrop {
    fn answered(mut self, answered: Answered) {
        let Answered { measured, buffers } = answered;
        self.1 = self.1.take().map(|end| EndedRun { measured, buffers, ..end });
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(end) = self.1.take() {
            let _ = self.0.send(end);
        }
    }
}

/// Forms batches until no more runs come and all that came are sent.
pub(super) async fn form_batches<F>(
    receiver: &mut mpsc::UnboundedReceiver<Waiting>,
    admitted: &mut Admitted,
    rules: BatchRules,
    observer: &dyn BatchObserver,
    permits: &mut (impl Fn() -> F + Send),
) where
    F: Future<Output = HeldPermits> + Send,
{
    let (ended, mut ends) = mpsc::unbounded_channel();
    let Admitted { model, sizes, cost } = admitted;
    let mut former = Former {
        model: &*model,
        sizes: sizes.as_ref(),
        rules,
        observer,
        cost,
        open: OpenBatches::default(),
        spare: SpareBuffers::of(&*model),
        held: None,
        in_flight: 0,
        sent: 0,
        is_ending: false,
        ended,
    };
    let mut acquiring: Option<Pin<Box<F>>> = None;
    loop {
        while let Ok(waiting) = receiver.try_recv() {
            former.add(waiting);
        }
        former.send_ready(Instant::now());
        if former.open.is_empty() {
            if former.is_ending {
                return;
            }
            // Others may need them.
            (former.held, acquiring) = (None, None);
        } else if former.held.is_none() && acquiring.is_none() && former.wants_permits() {
            acquiring = Some(Box::pin(permits()));
        }
        let timer = former.next_time();
        tokio::select! {
            arrival = receiver.recv(), if !former.is_ending => match arrival {
                Some(waiting) => former.add(waiting),
                None => former.is_ending = true,
            },
            held = acquired(&mut acquiring) => {
                (former.held, acquiring) = (Some((held, Instant::now())), None);
            }
            Some(end) = ends.recv() => former.end(end),
            () = sleep_until(timer) => {
                if former.is_idle() {
                    former.spare.clear();
                }
            }
        }
    }
}

/// The permits, if they are being acquired.
async fn acquired<F: Future>(acquiring: &mut Option<Pin<Box<F>>>) -> F::Output {
    match acquiring {
        Some(permits) => permits.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

impl Former<'_> {
    fn add(&mut self, waiting: Waiting) {
        let written = self.open.add(waiting, self.rules.max_batch, &mut self.spare);
        if written > 0 {
            self.observer.copied(written);
        }
    }

    fn is_idle(&self) -> bool {
        self.open.is_empty() && self.in_flight == 0
    }

    /// Returns true if a batch that is not full would only wait for the device.
    fn device_is_busy(&self) -> bool {
        self.in_flight > 0 && !self.model.properties().overlaps_runs
    }

    /// Returns true if a batch could be sent.
    fn wants_permits(&self) -> bool {
        !self.device_is_busy() || self.open.iter().any(|batch| batch.is_full(self.rules.max_batch))
    }

    /// When a batch ends its admission. `None` if that is not known: it waits for permits or for the device.
    fn ready_at(&self, batch: &OpenBatch) -> Option<Instant> {
        let (_, free) = self.held.as_ref()?;
        if batch.is_full(self.rules.max_batch) {
            return Some(*free);
        }
        if self.device_is_busy() {
            return None;
        }
        if self.is_ending {
            return Some(*free);
        }
        let hold = self.cost.hold_until(batch.rows(), batch.last_arrival().max(*free));
        Some((batch.since() + self.rules.max_delay).max(hold.min(*free + self.rules.max_delay)))
    }

    /// Sends a batch if one is ready.
    fn send_ready(&mut self, now: Instant) {
        let is_ready = |batch| self.ready_at(batch).is_some_and(|at| at <= now);
        let Some(index) = self.open.iter().position(is_ready) else { return };
        let (Some(batch), Some((permits, _))) = (self.open.remove(index), self.held.take()) else { return };
        self.open.overtake(index);
        self.send(batch, permits, now);
    }

    fn send(&mut self, batch: OpenBatch, permits: HeldPermits, now: Instant) {
        let since = batch.since();
        let Some(batch) = batch.close(self.sizes) else { return };
        self.observer.batch(batch.rows, batch.members.len(), now.saturating_duration_since(since));
        for member in &batch.members {
            let runs = batch.members.len();
            member.caller.sent(BatchWait { since: member.since, sent: now, rows: batch.rows, runs });
        }
        if batch.padding > 0 {
            self.observer.padded(batch.padding);
        }
        self.sent += 1;
        let was_alone = self.in_flight == 0 || self.model.properties().overlaps_runs;
        self.in_flight += 1;
        let end = EndedRun { measured: None, number: self.sent, was_alone, buffers: Vec::new() };
        let end = EndOnDrop(self.ended.clone(), Some(end));
        let (model, name) = (Arc::clone(self.model), self.observer.model().to_owned());
        // Meanwhile the next batch is gathered.
        tokio::task::spawn_blocking(move || {
            let answered = answer_batch(&*model, &name, batch);
            // The next batch may need them.
            drop(permits);
            end.answered(answered);
        });
    }

    fn end(&mut self, end: EndedRun) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_alone = end.was_alone && (self.sent == end.number || self.model.properties().overlaps_runs);
        if let Some((rows, time)) = end.measured.filter(|_| is_alone) {
            self.cost.record(rows, time);
        }
        end.buffers.into_iter().for_each(|buffer| self.spare.put(buffer));
    }

    /// When the state changes without an event.
    fn next_time(&self) -> Option<Instant> {
        match self.is_idle() && !self.spare.is_empty() {
            true => Some(Instant::now() + IDLE),
            false => self.open.iter().filter_map(|batch| self.ready_at(batch)).min(),
        }
    }
}
