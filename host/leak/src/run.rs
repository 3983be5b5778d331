//! The experiment: rounds over the samples in one instance. The heap is read after every call.

use super::containers::Containers;
use super::heap::{Block, Blocks, Heap};
use super::heap_watch::HeapWatch;
use super::judge::{self, HeapJudgement};
use super::progress::Progress;
use super::record::{Call, Record, Survivor};
use super::rounds::{ENOUGH_CALLS, ENOUGH_MEMORY, ENOUGH_ROUNDS, Rounds, STEADY_TIME, are_all, time_after};
use super::subject::{PluginUnderTest, Subject, SubjectError, outcome, survives};
use super::variation::Inputs;
use super::verdict::{Finding, MIN_ROUNDS, Verdict};
use plimsoll_runtime::outcome::Outcome;
use std::time::Instant;

/// Maximum number of samples that are left out because they end the instance, for example by a trap.
const MAX_EXCLUDED: usize = 32;

/// Why there is no verdict about the samples.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The instance does not start.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Every sample ends the instance.
    #[error(
        "no sample can be run twice in one instance, because every sample ends the instance; add samples that the \
         plugin answers, or set a larger --max-memory"
    )]
    NoSampleSurvives,
    /// Too many samples end the instance. The field is the outcome of the last one.
    #[error(
        "more than {MAX_EXCLUDED} samples end the instance (the last outcome: {}); remove them from the corpus, or set \
         a larger --max-memory",
        .0.as_str()
    )]
    TooManyExcluded(Outcome),
    /// A sample ends the instance that it did not end in an earlier round, before there are enough rounds.
    #[error(
        "after {calls} calls the instance ended at {sample} ({}), which it had answered before, so something fills up with \
         each request; that is too early for a verdict: use a smaller corpus, or set a larger --max-memory if memory is full",
        .outcome.as_str()
    )]
    EndedEarly {
        /// The calls before.
        calls: usize,
        /// The sample's name.
        sample: String,
        /// The outcome of the last call.
        outcome: Outcome,
    },
}

/// What ended an instance.
enum Ended {
    /// A sample, with this outcome.
    Sample(usize, Outcome),
    /// The collector of the guest's language.
    Collection,
}

/// The result of a run.
pub struct Run<'a> {
    /// The samples of each round, as indices.
    pub samples: Vec<usize>,
    /// Samples that were left out because they end the instance, with their outcome.
    pub excluded: Vec<(usize, Outcome)>,
    /// Number of complete rounds.
    pub rounds: usize,
    /// The reason, if the run ended before its last round.
    pub stopped: Option<String>,
    /// True if it ended because the memory was full.
    pub is_full: bool,
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// What was held after each round.
    pub record: Record,
    /// Every block in use at the end, sorted by address.
    pub survivors: Vec<Survivor>,
    /// Every block in use after the first round, sorted by address, and what it begins with.
    pub after_first_round: Vec<(Block, Vec<u8>)>,
    /// True if the collector of the guest's language was run at the end of each round.
    pub collects: bool,
    /// Every block in use at the end, those of the language's runtime too.
    pub all_blocks: Blocks,
    /// The containers that grew.
    pub containers: Containers,
    /// `None` if the allocator is not dlmalloc.
    pub heap: Option<Heap>,
    /// The instance, so that its memory can be read.
    pub subject: Subject<'a>,
}

impl<'a> Run<'a> {
    /// Runs rounds over the inputs with the indices `chosen`, always in the same order. The rounds are doubled until there are
    /// enough calls for a verdict. The heap is compared between ends of rounds, so the latest input must have the same class
    /// and size at each of them. Samples that end the instance are left out, and the run starts again.
    ///
    /// # Errors
    /// If no instance starts, or too many samples end it.
    pub async fn execute(
        plugin: &'a PluginUnderTest,
        inputs: &Inputs<'_>,
        chosen: &[usize],
        rounds: Rounds,
        progress: &Progress,
    ) -> Result<Self, RunError> {
        let mut excluded: Vec<(usize, Outcome)> = Vec::new();
        let mut collects = true;
        loop {
            let is_left_out = |sample: &usize| excluded.iter().any(|(left_out, _)| left_out == sample);
            let mut chosen: Vec<_> = chosen.iter().copied().filter(|sample| !is_left_out(sample)).collect();
            // The largest input is the one with which the collector is most likely to run.
            if plugin.language.is_some() {
                chosen.sort_by_key(|&sample| inputs.samples[sample].feed.bytes());
            }
            if chosen.is_empty() {
                return Err(RunError::NoSampleSurvives);
            }
            let (run, ended) = Self::attempt(plugin, inputs, chosen, rounds, collects, progress).await?;
            match ended {
                Some(Ended::Collection) => collects = false,
                // This input is not the reason why the instance ends, but memory or handles that earlier inputs left,
                // up to the limit. The calls so far are enough for a verdict.
                Some(Ended::Sample(_, how)) if run.rounds >= MIN_ROUNDS => {
                    let why = match how {
                        Outcome::MemoryLimit => "the memory limit was reached (see --max-memory)".to_owned(),
                        how => format!("the instance ended ({})", how.as_str()),
                    };
                    let is_full = how == Outcome::MemoryLimit;
                    return Ok(Self { excluded, stopped: Some(why), is_full, ..run });
                }
                Some(Ended::Sample(sample, outcome)) if run.calls.iter().any(|call| call.sample == sample) => {
                    let (calls, sample) = (run.calls.len(), inputs.samples[sample].name.clone());
                    return Err(RunError::EndedEarly { calls, sample, outcome });
                }
                Some(Ended::Sample(sample, how)) if excluded.len() < MAX_EXCLUDED => excluded.push((sample, how)),
                Some(Ended::Sample(_, how)) => return Err(RunError::TooManyExcluded(how)),
                None => return Ok(Self { excluded, ..run }),
            }
        }
    }

    /// Runs the rounds in one instance. Returns also the sample and the outcome that ended the instance, if one did. `collects`:
    /// the collector of the guest's language is run after each round.
    async fn attempt(
        plugin: &'a PluginUnderTest,
        inputs: &Inputs<'_>,
        chosen: Vec<usize>,
        rounds: Rounds,
        collects: bool,
        progress: &Progress,
    ) -> Result<(Self, Option<Ended>), SubjectError> {
        let mut subject = plugin.subject().await?;
        let mut watch = HeapWatch::new(&mut subject, plugin);
        let mut run = Self {
            record: Record { requests: chosen.len(), ..Record::default() },
            samples: chosen,
            excluded: Vec::new(),
            rounds: 0,
            stopped: None,
            is_full: false,
            calls: Vec::new(),
            survivors: Vec::new(),
            after_first_round: Vec::new(),
            collects: false,
            all_blocks: Blocks::default(),
            containers: Containers::default(),
            heap: None,
            subject,
        };
        run.note(&watch);
        let mut ended = None;
        let (mut goal, started) = (rounds.least, Instant::now());
        'rounds: for round in 1.. {
            for at in 0..run.samples.len() {
                let sample = run.samples[at];
                let is_last = at + 1 == run.samples.len();
                if is_last {
                    run.subject.ask_for_collection();
                }
                let result = run.subject.call(&inputs.variant(sample, run.calls.len())).await;
                let outcome = outcome(&result);
                if !survives(outcome) {
                    ended = Some(Ended::Sample(sample, outcome));
                    break 'rounds;
                }
                if is_last && collects {
                    match run.subject.collect().await {
                        Ok(collected) => run.collects = collected && (round == 1 || run.collects),
                        Err(error) => {
                            tracing::warn!(
                                "the garbage collector of the plugin's language cannot be run, so garbage in cycles \
                                 counts as live: {error}"
                            );
                            ended = Some(Ended::Collection);
                            break 'rounds;
                        }
                    }
                }
                let is_read = watch.update(&run.subject, run.calls.len(), sample, is_last);
                if round == 1 {
                    // What a plugin loads in its first calls is no reason to read the heap less often.
                    watch.allow_blocks();
                }
                run.calls.push(Call {
                    sample,
                    round,
                    outcome,
                    live: watch.held().filter(|_| is_read),
                    linear: run.subject.linear_bytes(),
                    host: run.subject.host_bytes(),
                });
                progress.count();
            }
            run.rounds = round;
            if round == 1 {
                run.after_first_round = watch.blocks(run.subject.memory());
            }
            run.note(&watch);
            if round == goal || 2 * round == rounds.least {
                run.record.classes.push((round, watch.objects(run.subject.memory())));
            }
            // What has a time to live must not look like something that is kept.
            run.subject.advance(time_after(round));
            if round == goal {
                run.record.time = started.elapsed();
                // A call of an interpreter, and the collection after each round, take much longer.
                let may_add = rounds.until_enough && !run.subject.python.is_some() && run.record.time < STEADY_TIME;
                let is_as_known = rounds.known.is_some_and(|known| run.record.rates().are_as_before(&known));
                if is_as_known || run.is_enough(&watch, may_add) {
                    break;
                }
                progress.add(run.samples.len() * goal);
                goal *= 2;
            }
        }
        run.record.time = started.elapsed();
        run.record.is_cut_short |= ended.is_some();
        run.heap = watch.heap;
        run.survivors = watch.survivors();
        run.all_blocks = watch.all_blocks().clone();
        run.containers = watch.containers;
        Ok((run, ended))
    }

    /// Records what is held between two rounds.
    fn note(&mut self, watch: &HeapWatch) {
        let (record, subject) = (&mut self.record, &mut self.subject);
        record.heap_is_known = watch.heap.is_some();
        record.heap.push(watch.held().unwrap_or_default());
        record.sizes.push(watch.sizes());
        record.linear.push(subject.linear_bytes());
        record.beside_heap.push(watch.beside(subject.linear_bytes()));
        record.host.push(subject.host_bytes());
        record.objects.push(subject.object_bytes());
        record.buffers.push(subject.buffer_bytes());
        record.runtime.push(watch.runtime());
        record.resources.push(subject.resources());
    }

    /// Returns true if more rounds would not change the verdict, or there are too many calls already. `adds_if_steady`: rounds
    /// are added although nothing grows, because a leak may be rare.
    fn is_enough(&mut self, watch: &HeapWatch, adds_if_steady: bool) -> bool {
        // Only the growth counts, because a plugin may be large from the start.
        let grown = self.subject.linear_bytes().saturating_sub(self.record.linear.first().copied().unwrap_or(0));
        if grown >= ENOUGH_MEMORY {
            self.record.is_at_its_end = are_all(self.calls.len(), false, self.record.time);
            self.record.is_cut_short = !self.record.is_at_its_end;
            return true;
        }
        let grows = self.record.grows();
        if !grows && !adds_if_steady {
            return true;
        }
        if self.calls.len() < ENOUGH_CALLS || grows && self.rounds < ENOUGH_ROUNDS {
            return false;
        }
        let heap = judge::heap(&self.record, &self.calls, &watch.survivors(), &watch.containers);
        if !grows && !heap.has_growing_container {
            return true;
        }
        let others = self.others(heap.finding.verdict).map(|finding| finding.verdict);
        // A ring of nearly as many entries as there were calls may have become full just now.
        let may_be_full = others.contains(&Verdict::Leaks) && self.calls.len() < 2 * ENOUGH_CALLS;
        let is_open = heap.is_open || others.contains(&Verdict::WarmingUp) || may_be_full;
        let needs_more = heap.has_few && heap.finding.verdict != Verdict::Leaks;
        self.record.is_at_its_end = are_all(self.calls.len(), needs_more, self.record.time);
        !is_open || self.record.is_at_its_end
    }

    /// Judges the heap.
    pub fn judge(&self) -> HeapJudgement {
        judge::heap(&self.record, &self.calls, &self.survivors, &self.containers)
    }

    /// The findings for what is not on the heap, of which there is a verdict.
    pub fn others(&self, heap: Verdict) -> [Finding; 4] {
        judge::others(&self.record, heap)
    }
}
