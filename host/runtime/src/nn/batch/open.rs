//! A batch that is still open: the rows of each run are written into the batch's buffers when the run arrives, while
//! the backend computes another batch.

use std::time::Instant;

use super::buffers::{RowBuffer, SpareBuffers};
use super::sizes::BatchSizes;
use super::waiting::{Member, Waiting};
use crate::tensor::{Tensor, TensorType};

/// The most bytes of a buffer that are reserved before rows arrive.
pub(super) const MAX_RESERVED: usize = 64 << 20;

/// How often full batches of other shapes are sent first, before a batch waits for no more runs: they could come for ever.
pub(super) const MOST_OVERTAKEN: u32 = 8;

/// The rows of a batch that has ended its admission.
pub(super) struct ClosedBatch {
    pub(super) members: Vec<Member>,
    /// The rows of all members.
    pub(super) rows: u32,
    /// The inputs of the run. They may have rows that no member has, after the others.
    pub(super) inputs: Vec<Tensor>,
    /// The rows that were added.
    pub(super) padding: u32,
}

/// A batch that takes more runs.
pub(super) struct OpenBatch {
    members: Vec<Member>,
    rows: u32,
    rows_of_input: Rows,
    /// True if the batch had no room for a run of a matching shape.
    turned_away: bool,
    /// How often a younger batch was sent before this one.
    overtaken: u32,
    last_arrival: Instant,
}

/// The rows that have arrived.
enum Rows {
    /// The tensors of the only run.
    Alone(Vec<Tensor>),
    /// One buffer for each input.
    Joined(Vec<Buffer>),
}

/// The rows of one input.
struct Buffer {
    /// The size of all dimensions but the first.
    others: Vec<u32>,
    ty: TensorType,
    row_bytes: usize,
    data: RowBuffer,
}

impl OpenBatch {
    /// A batch with its first run.
    pub(super) fn new(first: Waiting) -> Self {
        let (inputs, member) = first.into_parts();
        Self {
            rows: member.rows,
            last_arrival: member.since,
            members: vec![member],
            rows_of_input: Rows::Alone(inputs),
            turned_away: false,
            overtaken: 0,
        }
    }

    /// Takes a run if it fits, and writes its rows. Returns the run if it does not fit, or else the number of bytes
    /// that were written.
    pub(super) fn take(
        &mut self,
        waiting: Waiting,
        max_batch: u32,
        spare: &mut SpareBuffers,
    ) -> Result<usize, Box<Waiting>> {
        if !self.has_shape_of(&waiting) {
            return Err(Box::new(waiting));
        }
        if self.rows.saturating_add(waiting.rows) > max_batch {
            self.turned_away = true;
            return Err(Box::new(waiting));
        }
        let mut written = 0;
        if let Rows::Alone(first) = &self.rows_of_input {
            let buffers = first.iter().map(|input| Buffer::new(input, self.rows, max_batch, spare)).collect::<Vec<_>>();
            written += buffers.iter().map(|buffer| buffer.data.len()).sum::<usize>();
            self.rows_of_input = Rows::Joined(buffers);
        }
        let (inputs, member) = waiting.into_parts();
        if let Rows::Joined(buffers) = &mut self.rows_of_input {
            for (buffer, input) in buffers.iter_mut().zip(&inputs) {
                buffer.data.extend(&input.data);
                written += input.data.len();
            }
        }
        self.rows += member.rows;
        self.last_arrival = member.since;
        self.members.push(member);
        Ok(written)
    }

    /// Returns true if types and shapes are equal, except for the number of rows.
    fn has_shape_of(&self, waiting: &Waiting) -> bool {
        match &self.rows_of_input {
            Rows::Alone(inputs) => {
                inputs.iter().zip(&waiting.inputs).all(|(a, b)| a.ty == b.ty && a.dimensions[1..] == b.dimensions[1..])
            }
            Rows::Joined(buffers) => {
                buffers.iter().zip(&waiting.inputs).all(|(a, b)| a.ty == b.ty && a.others[..] == b.dimensions[1..])
            }
        }
    }

    /// The rows of all runs.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// When the first run began to wait.
    pub(super) fn since(&self) -> Instant {
        self.members.first().map_or(self.last_arrival, |first| first.since)
    }

    /// When the last run arrived.
    pub(super) fn last_arrival(&self) -> Instant {
        self.last_arrival
    }

    /// Returns true if waiting for more runs is of no use.
    pub(super) fn is_full(&self, max_batch: u32) -> bool {
        self.turned_away || self.overtaken >= MOST_OVERTAKEN || self.rows >= max_batch
    }

    /// A younger batch was sent before this one.
    pub(super) fn was_overtaken(&mut self) {
        self.overtaken += 1;
    }

    /// Closes the batch: no more runs can join. Removes the runs whose caller has disconnected, and pads the rows to the
    /// next prepared size. `None` if no caller waits.
    pub(super) fn close(mut self, sizes: Option<&BatchSizes>) -> Option<ClosedBatch> {
        self.remove_gone();
        if self.members.is_empty() {
            return None;
        }
        let rows = self.rows;
        let (inputs, padding) = match self.rows_of_input {
            // A run alone is padded by `PaddedModel`, which copies its rows. Most have a prepared size.
            Rows::Alone(inputs) => (inputs, 0),
            Rows::Joined(buffers) => {
                let padding = sizes.and_then(|sizes| sizes.padding(rows)).unwrap_or(0);
                (
                    buffers.into_iter().map(|buffer| buffer.padded(padding).into_tensor(rows + padding)).collect(),
                    padding,
                )
            }
        };
        Some(ClosedBatch { members: self.members, rows, inputs, padding })
    }

    /// Removes the rows of callers that have disconnected.
    fn remove_gone(&mut self) {
        // Asked once: a caller that disconnects between two questions would leave its row to the next caller.
        let stays: Vec<bool> = self.members.iter().map(|member| !member.is_gone()).collect();
        self.keep(&stays);
    }

    /// Keeps the members, and their rows, for which `stays` is true.
    fn keep(&mut self, stays: &[bool]) {
        if stays.iter().all(|stays| *stays) {
            return;
        }
        if let Rows::Joined(buffers) = &mut self.rows_of_input {
            for buffer in buffers {
                buffer.keep(self.members.iter().zip(stays).map(|(member, stays)| (member.rows, *stays)));
            }
        }
        let mut stays = stays.iter();
        self.members.retain(|_| stays.next().is_some_and(|stays| *stays));
        self.rows = self.members.iter().map(|member| member.rows).sum();
    }
}

impl Buffer {
    /// A buffer with the rows of the first run.
    fn new(first: &Tensor, rows: u32, max_batch: u32, spare: &mut SpareBuffers) -> Self {
        let row_bytes = first.data.len() / rows.max(1) as usize;
        let wanted = row_bytes.saturating_mul(max_batch as usize).min(MAX_RESERVED).max(first.data.len());
        let mut data = spare.take(wanted);
        data.extend(&first.data);
        Self { others: first.dimensions[1..].to_vec(), ty: first.ty, row_bytes, data }
    }

    /// Keeps the rows of some members, which are given in their order with their numbers of rows.
    fn keep(&mut self, members: impl Iterator<Item = (u32, bool)>) {
        let (mut from, mut to) = (0, 0);
        for (rows, stays) in members {
            let bytes = rows as usize * self.row_bytes;
            if stays {
                self.data.copy_within(from..from + bytes, to);
                to += bytes;
            }
            from += bytes;
        }
        self.data.truncate(to);
    }

    /// Repeats the last row.
    fn padded(mut self, rows: u32) -> Self {
        let last = self.data.len() - self.row_bytes..self.data.len();
        (0..rows).for_each(|_| self.data.repeat(last.clone()));
        self
    }

    fn into_tensor(self, rows: u32) -> Tensor {
        let dimensions = [rows].into_iter().chain(self.others).collect();
        Tensor::with_bytes(dimensions, self.ty, self.data.into_tensor_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use tokio::sync::oneshot;

    use super::super::callers::Caller;
    use super::*;

    /// Callers disconnect on another thread while the batch closes: each row stays with its caller, in every input.
    #[test]
    fn callers_that_disconnect_while_a_batch_closes_take_only_their_own_rows() {
        for _ in 0..300 {
            let (mut receivers, mut batch, mut callers) = (Vec::new(), None::<OpenBatch>, Vec::new());
            for number in 0..64u8 {
                let (answer, receiver) = oneshot::channel();
                let caller = Arc::new(Caller::default());
                callers.push(Arc::clone(&caller));
                receivers.push(receiver);
                let input = || Tensor::new(vec![1, 2], TensorType::U8, vec![number; 2]);
                let inputs = (0..4).map(|_| input()).collect();
                let waiting = Waiting { inputs, rows: 1, since: Instant::now(), answer, caller };
                match &mut batch {
                    None => batch = Some(OpenBatch::new(waiting)),
                    Some(batch) => assert!(batch.take(waiting, 64, &mut SpareBuffers::default()).is_ok()),
                }
            }
            let started = Arc::new(AtomicBool::new(false));
            let leaving = {
                let started = Arc::clone(&started);
                std::thread::spawn(move || {
                    receivers.drain(..1).for_each(drop);
                    started.store(true, Relaxed);
                    receivers.drain(..40).for_each(drop);
                    receivers
                })
            };
            while !started.load(Relaxed) {
                std::hint::spin_loop();
            }
            let closed = batch.and_then(|batch| batch.close(None)).expect("some stay");
            leaving.join().expect("no panic");
            assert_eq!(closed.rows as usize, closed.members.len());
            let number = |member: &Member| callers.iter().position(|caller| Arc::ptr_eq(caller, &member.caller));
            let own: Vec<u8> =
                closed.members.iter().flat_map(|member| [number(member).expect("known") as u8; 2]).collect();
            for input in &closed.inputs {
                assert_eq!(*input.data, own[..], "the rows of those that stay");
            }
        }
    }
}
