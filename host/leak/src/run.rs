//! The experiment: rounds over the samples in one instance. The heap is read after every call.

use indicatif::ProgressBar;
use serde::Serialize;

use super::corpus::Sample;
use super::heap::{Block, Blocks, Heap};
use super::module::Segment;
use super::subject::{PluginUnderTest, Subject, SubjectError, outcome, survives};
use super::verdict::Held;
use plimsoll_runtime::outcome::Outcome;

/// Maximum number of samples that are left out because they end the instance, for example by a trap.
const MAX_EXCLUDED: usize = 32;

/// Why there is no verdict about the samples.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The instance does not start.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Every sample ends the instance.
    #[error("no sample can be run twice in one instance: every sample ends the instance")]
    NoSampleSurvives,
    /// Too many samples end the instance. The field is the outcome of the last one.
    #[error(
        "more than {MAX_EXCLUDED} samples end the instance (the last outcome: {}); remove them from the corpus, or set \
         a larger --max-memory",
        .0.as_str()
    )]
    TooManyExcluded(Outcome),
}

/// One call.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Call {
    /// The sample's index.
    pub sample: usize,
    /// The round, counted from 1.
    pub round: usize,
    /// The outcome of the call.
    pub outcome: Outcome,
    /// Heap memory in use after the call; `None` if the allocator is not dlmalloc.
    pub live: Option<Held>,
    /// Bytes of linear memory after the call.
    pub linear: u64,
    /// Bytes of tensors that the host holds after the call.
    pub host: u64,
}

/// A block that is in use at the end, and the call that allocated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivor {
    /// The block.
    pub block: Block,
    /// Index into [`Run::calls`]; `None` if the block was there before the first call.
    pub born: Option<usize>,
}

/// The results of an experiment, and the instance at its end.
pub struct Run<'a> {
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// Number of complete rounds.
    pub rounds: usize,
    /// The indices of the samples of each round.
    pub samples: Vec<usize>,
    /// Samples that were left out because they end the instance, each with its outcome.
    pub excluded: Vec<(usize, Outcome)>,
    /// The reason, if the run ended before its last round.
    pub stopped: Option<String>,
    /// Heap memory in use before the first call.
    pub before: Held,
    /// Bytes of linear memory before the first call.
    pub linear_before: u64,
    /// Every block in use at the end, sorted by address.
    pub survivors: Vec<Survivor>,
    /// Every block in use after the first round.
    pub after_first_round: Vec<Block>,
    /// `None` if the allocator is not dlmalloc.
    pub heap: Option<Heap>,
    /// The instance, so that its memory can be read.
    pub subject: Subject<'a>,
}

impl<'a> Run<'a> {
    /// Runs `rounds` rounds over the samples with the indices `chosen`, always in the same order. The heap is compared
    /// between ends of rounds, so the latest input must be the same at each of them. Samples that end the instance are
    /// left out, and the run starts again.
    ///
    /// # Errors
    /// If no instance starts, or too many samples end it.
    pub async fn execute(
        plugin: &'a PluginUnderTest,
        samples: &[Sample],
        chosen: &[usize],
        rounds: usize,
        progress: &ProgressBar,
    ) -> Result<Self, RunError> {
        let mut excluded: Vec<(usize, Outcome)> = Vec::new();
        loop {
            let chosen: Vec<_> =
                chosen.iter().copied().filter(|sample| excluded.iter().all(|(gone, _)| gone != sample)).collect();
            if chosen.is_empty() {
                return Err(RunError::NoSampleSurvives);
            }
            let (run, ended) = Self::attempt(plugin, samples, chosen, rounds, progress).await?;
            match ended {
                // Leaked memory has reached the limit: the calls so far are enough for a verdict.
                Some((_, Outcome::MemoryLimit)) if run.rounds >= super::verdict::MIN_ROUNDS => {
                    return Ok(Self { excluded, stopped: Some("the memory limit was reached".into()), ..run });
                }
                Some(end) if excluded.len() < MAX_EXCLUDED => {
                    progress.set_position(progress.position().saturating_sub(run.calls.len() as u64));
                    excluded.push(end);
                }
                Some((_, outcome)) => return Err(RunError::TooManyExcluded(outcome)),
                None => return Ok(Self { excluded, ..run }),
            }
        }
    }

    /// Runs one instance until the last round, or until a call ends it. Then the sample and outcome of that call are
    /// returned too.
    async fn attempt(
        plugin: &'a PluginUnderTest,
        samples: &[Sample],
        chosen: Vec<usize>,
        rounds: usize,
        progress: &ProgressBar,
    ) -> Result<(Self, Option<(usize, Outcome)>), SubjectError> {
        let subject = plugin.subject().await?;
        let mut watch = HeapWatch::new(&subject, plugin);
        let before = watch.held().unwrap_or_default();
        let mut run = Self {
            calls: Vec::with_capacity(chosen.len() * rounds),
            rounds: 0,
            samples: chosen,
            excluded: Vec::new(),
            stopped: None,
            before,
            linear_before: subject.linear_bytes(),
            survivors: Vec::new(),
            after_first_round: Vec::new(),
            heap: None,
            subject,
        };
        let mut ended = None;
        'rounds: for round in 1..=rounds {
            for &sample in &run.samples {
                let result = run.subject.call(&samples[sample]).await;
                let outcome = outcome(&result);
                if !survives(outcome) {
                    ended = Some((sample, outcome));
                    break 'rounds;
                }
                watch.update(&run.subject, run.calls.len());
                run.calls.push(Call {
                    sample,
                    round,
                    outcome,
                    live: watch.held(),
                    linear: run.subject.linear_bytes(),
                    host: run.subject.host_bytes(),
                });
                progress.inc(1);
            }
            run.rounds = round;
            if round == 1 {
                run.after_first_round.clone_from(&watch.blocks.blocks);
            }
        }
        run.heap = watch.heap;
        let births = watch.births.iter().copied();
        run.survivors = watch.blocks.blocks.iter().zip(births).map(|(&block, born)| Survivor { block, born }).collect();
        Ok((run, ended))
    }

    /// Memory held before the first round and after each round: of the heap if it is known, otherwise linear memory.
    pub fn held(&self) -> Vec<Held> {
        if self.heap.is_none() {
            return self.linear_held();
        }
        self.ends_of_rounds(self.before, |call| call.live.unwrap_or_default())
    }

    /// Bytes of linear memory before the first round and after each round.
    pub fn linear_held(&self) -> Vec<Held> {
        let before = Held { bytes: self.linear_before, blocks: 0 };
        self.ends_of_rounds(before, |call| Held { bytes: call.linear, blocks: 0 })
    }

    /// Bytes of tensors that the host held before the first round and after each round.
    pub fn host_held(&self) -> Vec<Held> {
        self.ends_of_rounds(Held::default(), |call| Held { bytes: call.host, blocks: 0 })
    }

    /// `before` and the value of `of` for the last call of each complete round.
    fn ends_of_rounds(&self, before: Held, of: impl Fn(&Call) -> Held) -> Vec<Held> {
        let mut held = vec![before];
        let ends = self.calls.chunks_exact(self.samples.len()).filter_map(|round| round.last());
        held.extend(ends.take(self.rounds).map(of));
        held
    }
}

/// Follows the heap from call to call.
struct HeapWatch {
    /// The end of the statics. The heap begins at this address or after it.
    statics_end: u32,
    heap: Option<Heap>,
    blocks: Blocks,
    /// For each entry of `blocks` the index of the call that allocated it.
    births: Vec<Option<usize>>,
    /// Remaining searches for the heap.
    attempts: usize,
}

impl HeapWatch {
    /// Maximum number of searches: one before the first call and one after each call. If none succeeds, the allocator
    /// is not dlmalloc.
    const MAX_ATTEMPTS: usize = 16;

    fn new(subject: &Subject<'_>, plugin: &PluginUnderTest) -> Self {
        let data_end = plugin.module.data.iter().map(Segment::end).max().unwrap_or(0);
        let statics_end = plugin.module.heap_base.unwrap_or(data_end).max(data_end);
        let mut this = Self {
            statics_end,
            heap: None,
            blocks: Blocks::default(),
            births: Vec::new(),
            attempts: Self::MAX_ATTEMPTS,
        };
        this.find(subject.memory());
        if let Some(blocks) = this.heap.and_then(|heap| heap.walk(subject.memory())) {
            this.births = vec![None; blocks.blocks.len()];
            this.blocks = blocks;
        }
        this
    }

    fn find(&mut self, memory: &[u8]) {
        if self.heap.is_none() && self.attempts > 0 {
            self.attempts -= 1;
            self.heap = Heap::find(memory, self.statics_end);
        }
    }

    /// Reads the heap after the call with the index `call`. New blocks were allocated by this call.
    fn update(&mut self, subject: &Subject<'_>, call: usize) {
        let memory = subject.memory();
        self.find(memory);
        let Some(blocks) = self.heap.and_then(|heap| heap.walk(memory)) else {
            // Found and later broken: bytes of another allocator that looked like a heap.
            self.heap = None;
            self.blocks = Blocks::default();
            self.births.clear();
            return;
        };
        let mut births = Vec::with_capacity(blocks.blocks.len());
        let mut old = self.blocks.blocks.iter().zip(&self.births).peekable();
        for block in &blocks.blocks {
            while old.next_if(|(known, _)| known.address < block.address).is_some() {}
            let known = old.next_if(|(known, _)| known.address == block.address);
            births.push(known.filter(|(known, _)| known.size == block.size).map_or(Some(call), |(_, born)| *born));
        }
        self.births = births;
        self.blocks = blocks;
    }

    fn held(&self) -> Option<Held> {
        self.heap.map(|_| Held { bytes: self.blocks.bytes, blocks: self.blocks.blocks.len() as u64 })
    }
}
