//! One request through a graph of steps. Steps that do not wait for each other run at the same time, on the other threads
//! of the runtime, as far as there are free instances (`Scheduler::extra_runs`).

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::PipelineError;
use super::in_flight::{Run, StepInput, resume};
use super::items;
use super::slots::{Job, Made, Slots};
use crate::stage::{Bundle, RunObserver, StageCore};

/// Runs the steps on what preprocessing handed on. Returns what the stage `reply`, postprocessing, takes.
pub(super) async fn run(
    run: Run<'_>,
    observer: &mut dyn RunObserver,
    prepared: Bundle,
    reply: &Arc<StageCore>,
) -> Result<Bundle, PipelineError> {
    let plan = &run.graph.plan;
    let mut slots = Slots::new(run, prepared);
    let forker = if plan.has_branches { observer.fork() } else { None };
    match forker {
        Some(forker) => {
            Box::pin(branches(run, &mut slots, observer, forker)).await?;
            observer.joined();
        }
        None => {
            for unit in 0..plan.units.len() {
                let job = slots.job(unit)?;
                let made = run_job(run, job, observer).await?;
                slots.put(made);
            }
        }
    }
    slots.reply(reply)
}

/// Runs the steps before a step, one after the other. Returns what the step takes: one input, or one for each item.
/// `step` is a number as in the plan; that of postprocessing is the last one.
pub(super) async fn inputs(
    run: Run<'_>,
    observer: &mut dyn RunObserver,
    prepared: Bundle,
    step: usize,
    reply: &Arc<StageCore>,
) -> Result<Vec<StepInput>, PipelineError> {
    let mut slots = Slots::new(run, prepared);
    for unit in 0..run.graph.plan.units.len() {
        match slots.job(unit)? {
            Job::Step(at, input) if at == step => return Ok(vec![StepInput { item: None, input }]),
            Job::Region { region, items, shared } if run.graph.plan.regions[region].steps.contains(&step) => {
                return items::inputs(run, region, items, shared, observer, step).await;
            }
            job => {
                let made = run_job(run, job, observer).await?;
                slots.put(made);
            }
        }
    }
    Ok(vec![StepInput { item: None, input: slots.reply(reply)? }])
}

/// Runs the work of a unit. The steps of a region are on the heap, so that requests without one are small.
async fn run_job(run: Run<'_>, job: Job, observer: &mut dyn RunObserver) -> Result<Made, PipelineError> {
    match job {
        Job::Step(step, input) => {
            let value = run.graph.run_step((step, None), run.chip, observer, run.request, input).await?;
            Ok(Made::Step(step, value))
        }
        Job::Region { region, items, shared } => {
            Box::pin(items::run(run, region, items, shared, observer)).await.map(Made::Region)
        }
    }
}

/// Runs units as soon as what they need is there: one in the task of the request, others in tasks of their own.
async fn branches(
    run: Run<'_>,
    slots: &mut Slots<'_>,
    observer: &mut dyn RunObserver,
    mut forker: Box<dyn RunObserver>,
) -> Result<(), PipelineError> {
    let plan = &run.graph.plan;
    let shared = run.shared();
    let mut missing: Vec<usize> = plan.needs.iter().map(Vec::len).collect();
    let mut ready: VecDeque<usize> = (0..missing.len()).filter(|&unit| missing[unit] == 0).collect();
    let mut left = missing.len();
    let (own_jobs, mut jobs) = mpsc::unbounded_channel();
    let (results, mut own_results) = mpsc::unbounded_channel();
    let own = async {
        while let Some((unit, job)) = jobs.recv().await {
            let _ = results.send((unit, run_job(run, job, observer).await));
        }
    };
    let schedule = async {
        let mut tasks: JoinSet<(usize, Result<Made, PipelineError>)> = JoinSet::new();
        let mut is_busy = false;
        while left > 0 {
            while let Some(&unit) = ready.front() {
                let job = |slots: &mut Slots<'_>| slots.job(unit);
                if !is_busy {
                    is_busy = true;
                    match job(slots) {
                        Ok(job) => drop(own_jobs.send((unit, job))),
                        Err(error) => return stopped(&mut tasks, error).await,
                    }
                } else {
                    let Ok(permit) = Arc::clone(run.permits).try_acquire_owned() else { break };
                    let Some(mut observer) = forker.fork() else { break };
                    let job = match job(slots) {
                        Ok(job) => job,
                        Err(error) => return stopped(&mut tasks, error).await,
                    };
                    let shared = Arc::clone(&shared);
                    tasks.spawn(async move {
                        let result = run_job(shared.run(), job, &mut *observer).await;
                        drop(permit);
                        (unit, result)
                    });
                }
                ready.pop_front();
            }
            let (unit, result) = tokio::select! {
                Some((unit, result)) = own_results.recv() => {
                    is_busy = false;
                    (unit, result)
                }
                Some(ended) = tasks.join_next() => ended.unwrap_or_else(resume),
                else => break,
            };
            match result {
                Ok(made) => slots.put(made),
                Err(error) => return stopped(&mut tasks, error).await,
            }
            left -= 1;
            for next in (0..missing.len()).filter(|&next| plan.needs[next].contains(&unit)) {
                missing[next] -= 1;
                if missing[next] == 0 {
                    ready.push_back(next);
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        result = schedule => result,
        // Ends only after `schedule`, which has the sender of its jobs.
        () = own => Ok(()),
    }
}

/// Ends the runs of the other branches, so that they are reported before the request ends with this error.
async fn stopped<T: 'static>(tasks: &mut JoinSet<T>, error: PipelineError) -> Result<(), PipelineError> {
    tasks.shutdown().await;
    Err(error)
}
