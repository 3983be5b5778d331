//! Runs a batch and answers its callers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::callers::SharedRun;
use super::open::ClosedBatch;
use super::rows;
use super::waiting::Member;
use crate::nn::error::RunError;
use crate::nn::model::Model;
use crate::tensor::Tensor;

/// What is left of a batch that was answered.
pub(super) struct Answered {
    /// The rows and the time of the run, if it succeeded.
    pub(super) measured: Option<(u32, Duration)>,
    /// The buffers of its inputs.
    pub(super) buffers: Vec<Vec<u8>>,
}

/// Makes a run. A panic, for example of the backend, is an error of the run.
fn caught<T>(run: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(RunError::Panicked))
}

/// Runs a batch and answers each run with its rows. If the batch fails, each run is repeated alone, so that the error
/// of one does not reach the others.
pub(super) fn answer_batch(model: &dyn Model, name: &str, batch: ClosedBatch) -> Answered {
    let ClosedBatch { members, rows, inputs, padding } = batch;
    let started = Instant::now();
    let is_single = members.len() == 1;
    let run = SharedRun::of(members.iter().map(|member| &*member.caller));
    let sizes: Vec<u32> = members.iter().map(|member| member.rows).collect();
    let outputs = caught(|| model.run_unless_cancelled(&inputs, &run.cancellation));
    let time = started.elapsed();
    let measured = outputs.is_ok().then_some((rows + padding, time));
    // A run alone needs no parts, and its error is its own.
    let parts = match outputs {
        Ok(outputs) if is_single && padding == 0 => Ok(vec![outputs]),
        Ok(outputs) => rows::split(&outputs, &sizes, rows + padding),
        Err(error) => Err(error),
    };
    match parts {
        Err(error) if is_single && padding == 0 => {
            members.into_iter().for_each(|member| drop(member.answer.send(Err(error.clone()))));
        }
        Err(_) if run.cancellation.is_cancelled() => {}
        Ok(parts) => {
            for (member, outputs) in members.into_iter().zip(parts) {
                let _ = member.answer.send(Ok(outputs));
            }
        }
        Err(error) => {
            tracing::warn!(model = name, "a batch of {} runs failed; each is repeated alone: {error}", sizes.len());
            answer_alone(model, members, &inputs, rows + padding);
        }
    }
    let buffers = inputs.into_iter().filter_map(|input| input.data.into_buffer()).collect();
    Answered { measured, buffers }
}

/// Runs and answers each run alone, if its caller still waits.
fn answer_alone(model: &dyn Model, members: Vec<Member>, inputs: &[Tensor], all: u32) {
    let mut from = 0;
    for member in members {
        let own: Vec<_> = inputs.iter().map(|input| rows::slice(input, all, from, member.rows)).collect();
        from += member.rows;
        let run = SharedRun::of(std::iter::once(&*member.caller));
        let result = caught(|| model.run_unless_cancelled(&own, &run.cancellation));
        let _ = member.answer.send(result);
    }
}
