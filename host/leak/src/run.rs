//! The experiment: rounds over the samples in one instance, with a look at the heap after every call.

use indicatif::ProgressBar;
use serde::Serialize;

use super::corpus::Sample;
use super::heap::{Block, Blocks, Heap};
use super::module::Segment;
use super::subject::{PluginUnderTest, Subject, outcome, survives};
use super::verdict::Held;
use plimsoll_runtime::outcome::Outcome;

/// An instance that traps cannot go on; an input that does it is left out from then on, but not any number of them.
const MAX_EXCLUDED: usize = 32;

/// One call.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Call {
    /// The sample's index.
    pub sample: usize,
    /// From 1.
    pub round: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// What is in use on the heap after it; `None` where the allocator is not known.
    pub live: Option<Held>,
    /// Bytes of linear memory after it.
    pub linear: u64,
    /// Bytes of tensors that the host holds after it.
    pub host: u64,
}

/// A block that is in use at the end, with the call that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survivor {
    /// The block.
    pub block: Block,
    /// Index into [`Run::calls`]; `None` if it was there before the first call.
    pub born: Option<usize>,
}

/// What an experiment saw, and the instance as it was at its end.
pub struct Run<'a> {
    /// In their order.
    pub calls: Vec<Call>,
    /// Whole rounds that were run.
    pub rounds: usize,
    /// The indices of the samples of each round.
    pub samples: Vec<usize>,
    /// Samples that end an instance, and how: they were left out.
    pub excluded: Vec<(usize, Outcome)>,
    /// Why it ended before its last round.
    pub stopped: Option<String>,
    /// What was in use on the heap before the first call.
    pub before: Held,
    /// Bytes of linear memory before the first call.
    pub linear_before: u64,
    /// Every block in use at the end, by address.
    pub survivors: Vec<Survivor>,
    /// Every block in use after the first round.
    pub after_first_round: Vec<Block>,
    /// `None` where the allocator is not dlmalloc.
    pub heap: Option<Heap>,
    /// For a look at its memory.
    pub subject: Subject<'a>,
}

impl<'a> Run<'a> {
    /// Runs `rounds` rounds over the samples with these indices, always in the same order: the heap is compared at
    /// the ends of rounds, and there must then be nothing new about the latest input.
    ///
    /// # Errors
    /// When no instance starts, or every sample ends it.
    pub async fn execute(
        plugin: &'a PluginUnderTest,
        samples: &[Sample],
        chosen: &[usize],
        rounds: usize,
        progress: &ProgressBar,
    ) -> Result<Self, String> {
        let mut excluded: Vec<(usize, Outcome)> = Vec::new();
        loop {
            let chosen: Vec<_> =
                chosen.iter().copied().filter(|sample| excluded.iter().all(|(gone, _)| gone != sample)).collect();
            if chosen.is_empty() {
                return Err("no sample can be run twice in one instance: each of them ends it".into());
            }
            let (run, ended) = Self::attempt(plugin, samples, chosen, rounds, progress).await?;
            match ended {
                // The heap is full of what leaked: what was seen so far is the answer.
                Some((_, Outcome::MemoryLimit)) if run.rounds >= super::verdict::MIN_ROUNDS => {
                    return Ok(Self { excluded, stopped: Some("the memory limit was reached".into()), ..run });
                }
                Some(end) if excluded.len() < MAX_EXCLUDED => {
                    progress.set_position(progress.position().saturating_sub(run.calls.len() as u64));
                    excluded.push(end);
                }
                Some((_, outcome)) => {
                    return Err(format!(
                        "more than {MAX_EXCLUDED} samples end the instance (the last in {}); give a corpus that the \
                         plugin survives, or a larger --max-memory",
                        outcome.as_str()
                    ));
                }
                None => return Ok(Self { excluded, ..run }),
            }
        }
    }

    /// One instance, until its last round or until a call ends it; then with that call's sample and outcome.
    async fn attempt(
        plugin: &'a PluginUnderTest,
        samples: &[Sample],
        chosen: Vec<usize>,
        rounds: usize,
        progress: &ProgressBar,
    ) -> Result<(Self, Option<(usize, Outcome)>), String> {
        let subject = plugin.subject().await?;
        let mut watch = Watch::new(&subject, plugin);
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
                watch.look(&run.subject, run.calls.len());
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

    /// What was held before the first round and after each: of the heap where it is known, else of linear memory.
    pub fn held(&self) -> Vec<Held> {
        if self.heap.is_none() {
            return self.linear_held();
        }
        self.ends_of_rounds(self.before, |call| call.live.unwrap_or_default())
    }

    /// Bytes of linear memory before the first round and after each.
    pub fn linear_held(&self) -> Vec<Held> {
        let before = Held { bytes: self.linear_before, blocks: 0 };
        self.ends_of_rounds(before, |call| Held { bytes: call.linear, blocks: 0 })
    }

    /// Bytes of tensors that the host held before the first round and after each.
    pub fn host_held(&self) -> Vec<Held> {
        self.ends_of_rounds(Held::default(), |call| Held { bytes: call.host, blocks: 0 })
    }

    fn ends_of_rounds(&self, before: Held, of: impl Fn(&Call) -> Held) -> Vec<Held> {
        let mut held = vec![before];
        let ends = self.calls.chunks_exact(self.samples.len()).filter_map(|round| round.last());
        held.extend(ends.take(self.rounds).map(of));
        held
    }
}

/// The heap from call to call.
struct Watch {
    /// Statics end there: the heap begins no earlier.
    statics_end: u32,
    heap: Option<Heap>,
    blocks: Blocks,
    /// For each of `blocks` the call that made it.
    births: Vec<Option<usize>>,
    /// Calls without a heap to be found, after which none is looked for any more.
    patience: usize,
}

impl Watch {
    /// A heap that is not there after this many calls is none of dlmalloc's.
    const PATIENCE: usize = 16;

    fn new(subject: &Subject<'_>, plugin: &PluginUnderTest) -> Self {
        let data_end = plugin.module.data.iter().map(Segment::end).max().unwrap_or(0);
        let statics_end = plugin.module.heap_base.unwrap_or(data_end).max(data_end);
        let mut this =
            Self { statics_end, heap: None, blocks: Blocks::default(), births: Vec::new(), patience: Self::PATIENCE };
        this.find(subject.memory());
        if let Some(blocks) = this.heap.and_then(|heap| heap.walk(subject.memory())) {
            this.births = vec![None; blocks.blocks.len()];
            this.blocks = blocks;
        }
        this
    }

    fn find(&mut self, memory: &[u8]) {
        if self.heap.is_none() && self.patience > 0 {
            self.patience -= 1;
            self.heap = Heap::find(memory, self.statics_end);
        }
    }

    /// Looks at the heap after the call with this index. Blocks that were not there before were made by it.
    fn look(&mut self, subject: &Subject<'_>, call: usize) {
        let memory = subject.memory();
        self.find(memory);
        let Some(blocks) = self.heap.and_then(|heap| heap.walk(memory)) else {
            // Once found and then broken: another allocator's bytes that looked like a heap.
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
