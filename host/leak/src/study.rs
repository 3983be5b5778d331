//! The study of one plugin: runs the experiments in order and collects their results.
//!
//! 1. Run all samples, in rounds, in one instance ([`Run`]): does memory grow at all?
//! 2. Run each class of samples in its own instance: which classes cause the growth, and by how much? If nothing grows,
//!    a few rounds, because a class may keep what another one frees.
//!    (The growth that a class adds to the first run is not a measure: a static that keeps the latest image grows with
//!    each large image and shrinks with the next small one.)
//!    Run the files as they are, without other bytes for each call, a few rounds too; and with other contents.
//! 3. Examine the survivors of the first run: what are they, and what holds them?
//! 4. Run the leaking classes again with traced allocations: which code allocated the survivors?

mod holders;
mod names;
mod other_inputs;
mod python_parts;
mod unanswered;

use std::collections::BTreeMap;

use self::names::{growers, resource_kinds, stacks};
use self::python_parts::{most_first, python_graph, python_report, type_growth};
use super::allocations;
use super::census;
use super::class_run::{self, ClassRun, Findings};
use super::corpus::Sample;
use super::debug_info::DebugInfo;
use super::finding::{Class, CollectionReport, Elsewhere, Measure, OtherContents, Study, UNCHANGED};
use super::judge;
use super::progress::Progress;
use super::python;
use super::rounds::{Rounds, rarest_leak};
use super::run::{Run, RunError};
use super::subject::PluginUnderTest;
use super::suspicion;
use super::variation::Inputs;
use super::verdict::{Finding, MIN_ROUNDS, Verdict};
use plimsoll_runtime::outcome::Outcome;

/// Rounds of the traced run: one to warm up, one to count the blocks that are not freed.
const TRACED_ROUNDS: usize = 2;

/// Options of a study.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rounds over the corpus, at least [`super::verdict::MIN_ROUNDS`]. With a power of two, the second half of the rounds is
    /// exactly twice as long as the quarter that it is compared with.
    pub rounds: usize,
    /// True if allocations are traced.
    pub trace: bool,
}

impl Study {
    /// Studies a plugin.
    ///
    /// # Errors
    /// If no instance starts, or too many samples end the instance.
    pub async fn run(
        plugin: &PluginUnderTest,
        samples: &[Sample],
        options: Options,
        progress: &Progress,
    ) -> Result<Self, RunError> {
        let chosen: Vec<_> = (0..samples.len()).collect();
        progress.step("inputs with other bytes", 2 * chosen.len());
        let inputs = Inputs::of(plugin, samples, progress).await?;
        progress.step("all samples in one instance", chosen.len() * options.rounds);
        let rounds = Rounds { least: options.rounds, until_enough: true, known: None };
        let mut run = Run::execute(plugin, &inputs, &chosen, rounds, progress).await?;
        let heap = run.judge();
        let [host, resources, beside_heap, objects] = run.others(heap.finding.verdict);
        let is_collected = run.subject.engine.is_some() && run.heap.is_some() && run.collects;
        let collection = plugin.language.map(|language| CollectionReport { language, is_seen: is_collected });
        let is_uncollected = collection.as_ref().is_some_and(|collection| !collection.is_seen);

        let linear = judge::series(&run.record.linear, run.samples.len()).verdict;
        let runtime = judge::held(&run.record.runtime, run.samples.len());
        let fragments = run.heap.is_some()
            && heap.finding.verdict == Verdict::Steady
            && runtime.verdict == Verdict::Steady
            && beside_heap.verdict == Verdict::Steady
            && linear != Verdict::Steady;

        let classes = class_run::classes_of(&run, samples);
        let class_of_sample: BTreeMap<usize, usize> = classes
            .values()
            .enumerate()
            .flat_map(|(class, members)| members.iter().map(move |&at| (at, class)))
            .collect();
        let findings = [&heap.finding, &host, &resources, &beside_heap, &objects];
        let grows = findings.iter().any(|finding| finding.verdict != Verdict::Steady);
        let leaks = findings.iter().any(|finding| finding.verdict == Verdict::Leaks);
        let mut unanswered = unanswered::reasons(&run, "all samples", leaks, samples);
        let debug_info = DebugInfo::of_module(&plugin.module);
        let (mut found, mut groups_alone, mut kinds_alone) = (Vec::new(), Vec::new(), Vec::new());
        for ((outcome, folder), members) in &classes {
            // A class may keep what another class frees. Then only the class alone grows, and a few rounds show it.
            let rounds = if grows { rounds } else { Rounds { least: MIN_ROUNDS, until_enough: false, known: None } };
            let mut calls = members.len() * run.rounds;
            let mut findings = Findings { finding: Finding::STEADY, measure: Measure::Heap, also: Vec::new() };
            let (mut growing, mut objects) = (None, Vec::new());
            if !is_uncollected && (classes.len() > 1 || grows) {
                let name = outcome.as_str();
                let mut alone = class_run::run_alone(plugin, &inputs, name, members, rounds, progress).await?;
                let leaks = alone.findings.finding.verdict == Verdict::Leaks;
                unanswered.extend(unanswered::reasons(&alone.run, &format!("{name} alone"), leaks, samples));
                // In the run over all samples its blocks are freed, and others survive.
                if leaks && alone.findings.measure == Measure::Heap && heap.finding.verdict != Verdict::Leaks {
                    let (groups, kinds) = holders::of_class(&mut alone.run, plugin, &debug_info, samples, found.len());
                    groups_alone.extend(groups);
                    kinds_alone.extend(kinds);
                }
                calls = calls.max(alone.run.calls.len());
                ClassRun { findings, growing, objects, .. } = alone;
            }
            let Findings { finding, measure, also } = findings;
            let kept = suspicion::kept_in_first_round(&run, members);
            found.push(Class {
                outcome: *outcome,
                folder: folder.clone(),
                samples: members.len(),
                kept_in_first_round: kept,
                calls,
                rarest_leak: rarest_leak(calls),
                finding,
                measure,
                also,
                growing,
                objects,
                other_contents: None,
            });
        }
        let (mut unchanged, mut contents) = (Elsewhere::default(), Elsewhere::default());
        if !is_uncollected {
            let as_they_are = match other_inputs::unchanged(plugin, &debug_info, &inputs, &run, progress).await {
                // What was found before stays.
                Err(error @ RunError::EndedEarly { .. }) => {
                    unanswered.push(format!("{UNCHANGED}: {error}"));
                    None
                }
                result => result?,
            };
            if let Some((found, run)) = as_they_are {
                unanswered.extend(unanswered::reasons(&run, UNCHANGED, !found.leaks.is_empty() || leaks, samples));
                unanswered.extend(unanswered::uncollected(plugin, &run, UNCHANGED));
                unchanged = found;
            }
            let leaks = leaks || !unchanged.leaks.is_empty();
            let other = other_inputs::contents(plugin, &debug_info, &inputs, &run, leaks, progress).await?;
            for (class, members) in found.iter_mut().zip(classes.values()) {
                class.other_contents = Some(OtherContents::of(members, samples, &other.inputs));
            }
            contents = other.found;
            unanswered.extend(other.unanswered);
        }
        let class_of = |sample: usize| class_of_sample.get(&sample).copied().unwrap_or(0);
        let mut types = python::Types::default();
        if let Some(graph) = python_graph(&run, plugin) {
            types = python::types(&run, &heap.leaking, &graph, &class_of);
        }
        let mut groups = holders::groups(&mut run, plugin, &debug_info, &heap.leaking, &class_of);
        let mut kinds = census::kinds(&run, &heap.leaking, samples, &class_of);
        groups.retain(|group| groups_alone.iter().all(|alone: &census::Group| alone.class != group.class));
        kinds.retain(|kind| kinds_alone.iter().all(|alone: &census::BlockKind| alone.class != kind.class));
        groups.extend(groups_alone);
        kinds.extend(kinds_alone);
        let mut study = Self {
            plugin: plugin.artifact.identity.clone(),
            kind: plugin.kind,
            heap_is_known: run.heap.is_some(),
            rounds: run.rounds,
            samples: run.samples.len(),
            rarest_leak: rarest_leak(run.calls.len()),
            stopped: run.stopped.clone(),
            unanswered,
            unchanged,
            contents,
            excluded: run.excluded.iter().map(|(sample, how)| (samples[*sample].name.clone(), *how)).collect(),
            all: heap.finding,
            host,
            resources,
            resource_kinds: resource_kinds(&run),
            growers: if beside_heap.verdict == Verdict::Leaks { growers(plugin, &debug_info) } else { Vec::new() },
            beside_heap,
            objects,
            collection,
            kept_in_first_round: suspicion::kept_in_first_round(&run, &run.samples),
            python: python_report(&run),
            runtime,
            types: type_growth(types.leaking, &found, run.rounds),
            types_by_call: most_first(types.by_call),
            fragments,
            groups,
            kinds,
            difference: census::difference(&run),
            stacks: Vec::new(),
            mixed_stacks: Vec::new(),
            no_stacks: None,
            has_debug_info: debug_info.has_lines(),
            calls: run.calls.clone(),
            classes: found,
        };
        let chosen = study.samples_to_trace(&classes, &run.samples);
        drop(run);
        if is_uncollected {
            study.mark_uncollected();
        }
        if let Some(language) = plugin.language {
            study.no_stacks = Some(format!("the functions of {language} are not known to the laboratory"));
        } else if options.trace {
            progress.step("tracing allocations", chosen.len() * TRACED_ROUNDS);
            let class = |sample, _| class_of(sample);
            match allocations::record(plugin, &inputs, &chosen, TRACED_ROUNDS, class, progress).await {
                Ok(allocations) => {
                    let own = allocations.without_libraries();
                    study.stacks = stacks(&own, &allocations.python, plugin, &debug_info);
                    if allocations.python.is_some() {
                        study.mixed_stacks = stacks(&allocations.stacks, &allocations.python, plugin, &debug_info);
                    }
                }
                Err(error) => study.no_stacks = Some(error.to_string()),
            }
        } else {
            study.no_stacks = Some("tracing is turned off by --no-trace".into());
        }
        Ok(study)
    }

    /// Marks what grows as not judged.
    fn mark_uncollected(&mut self) {
        let classes = self.classes.iter_mut().map(|class| &mut class.finding);
        let whole = [&mut self.all, &mut self.host, &mut self.resources, &mut self.beside_heap, &mut self.objects];
        for finding in whole.into_iter().chain(classes) {
            *finding = std::mem::replace(finding, Finding::STEADY).uncollected();
        }
    }

    /// The samples of the leaking classes; all samples if no class leaks.
    fn samples_to_trace(&self, members: &BTreeMap<(Outcome, String), Vec<usize>>, all: &[usize]) -> Vec<usize> {
        let leaking =
            self.classes.iter().zip(members.values()).filter(|(class, _)| class.finding.verdict == Verdict::Leaks);
        let chosen: Vec<_> = leaking.flat_map(|(_, members)| members.iter().copied()).collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    }
}
