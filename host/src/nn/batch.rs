//! Batches across isolated instances: runs that wait for the same model at the same time become one run of the backend,
//! whose time grows less than its size. Each guest waits in `compute` without a thread, and gets its own rows back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::model::{Model, Outputs, Signature};
use super::tensor::Tensor;

/// `max_batch` and `max_delay` of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Rows of one run at most.
    pub max_batch: u32,
    /// How long the first of a batch waits for others.
    pub max_delay: Duration,
}

/// What is told of every batch.
pub trait Observer: Send + Sync {
    /// A batch of `rows` rows for `requests` runs was formed, the first of which had waited for `waited`.
    fn batch(&self, rows: u32, requests: usize, waited: Duration);
}

/// Waits for the permission to run: held for as long as the run takes.
pub type Permits = Box<dyn Send>;

/// Gathers runs of one model. Dropping it ends its task, once what waits has been answered.
pub struct Batcher {
    sender: mpsc::UnboundedSender<Waiting>,
}

/// A run that waits.
struct Waiting {
    inputs: Vec<Tensor>,
    rows: u32,
    since: Instant,
    answer: oneshot::Sender<Result<Outputs, String>>,
}

impl Waiting {
    /// Whether two runs can share a batch: everything but the number of rows is alike.
    fn fits(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| a.ty == b.ty && a.dimensions[1..] == b.dimensions[1..];
        self.inputs.iter().zip(&other.inputs).all(alike)
    }
}

/// Why a model cannot be batched: an input or output whose first dimension is of fixed size.
///
/// # Errors
/// The sentence, with the mend.
pub fn check(inputs: &[Signature], outputs: &[Signature]) -> Result<(), String> {
    for (what, signature) in inputs.iter().map(|input| ("input", input)).chain(outputs.iter().map(|o| ("output", o))) {
        let Some(shape) = &signature.shape else { continue };
        let name = &signature.name;
        match shape.first() {
            Some(None) => {}
            Some(Some(size)) => {
                return Err(format!(
                    "{what} `{name}` has a first dimension of fixed size {size}, so runs cannot be batched: export \
                     the model with a dynamic batch axis, or leave out `max_batch`"
                ));
            }
            None => return Err(format!("{what} `{name}` is a scalar and has no batch axis: leave out `max_batch`")),
        }
    }
    Ok(())
}

impl Batcher {
    /// Begins to gather, in a task of its own. `permits` is waited for before a batch is closed, so that a batch fills
    /// for as long as the backend has no room for it.
    pub fn start<F>(
        model: Arc<dyn Model>,
        rules: Rules,
        observer: Arc<dyn Observer>,
        permits: impl Fn() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Permits> + Send,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(gather(receiver, model, rules, observer, permits));
        Self { sender }
    }

    /// Runs `inputs`, which fit the model, in some batch. Whoever drops the future leaves the batch, unless it runs
    /// already.
    ///
    /// # Errors
    /// The library's own words.
    pub async fn run(&self, inputs: Vec<Tensor>) -> Result<Outputs, String> {
        let rows = rows(&inputs)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { inputs, rows, since: Instant::now(), answer };
        let ended = |_| "the batch ended without an answer".to_owned();
        self.sender.send(waiting).map_err(|_| "the batcher has ended".to_owned())?;
        answered.await.map_err(ended)?
    }
}

/// The size that the first dimension of every input has.
fn rows(inputs: &[Tensor]) -> Result<u32, String> {
    let sizes: Vec<_> = inputs.iter().map(|input| input.dimensions.first().copied().unwrap_or(0)).collect();
    match sizes.first() {
        Some(&rows) if rows > 0 && sizes.iter().all(|&size| size == rows) => Ok(rows),
        _ => Err(format!("the inputs have batch axes of sizes {sizes:?}; one size of at least 1 is needed")),
    }
}

async fn gather<F>(
    mut receiver: mpsc::UnboundedReceiver<Waiting>,
    model: Arc<dyn Model>,
    rules: Rules,
    observer: Arc<dyn Observer>,
    permits: impl Fn() -> F,
) where
    F: Future<Output = Permits> + Send,
{
    let mut queue: VecDeque<Waiting> = VecDeque::new();
    loop {
        if queue.is_empty() {
            match receiver.recv().await {
                Some(waiting) => queue.push_back(waiting),
                None => return,
            }
        }
        let permits = permits().await;
        fill(&mut queue, &mut receiver, rules).await;
        let batch = take(&mut queue, rules.max_batch);
        let Some(first) = batch.first() else { continue };
        observer.batch(batch.iter().map(|waiting| waiting.rows).sum(), batch.len(), first.since.elapsed());
        let model = Arc::clone(&model);
        // The next batch gathers meanwhile, and waits for permits of its own.
        tokio::task::spawn_blocking(move || {
            let _permits = permits;
            answer(&*model, batch);
        });
    }
}

/// Waits until there is a whole batch, or the first of the queue has waited for `max_delay`.
async fn fill(queue: &mut VecDeque<Waiting>, receiver: &mut mpsc::UnboundedReceiver<Waiting>, rules: Rules) {
    let Some(until) = queue.front().map(|first| first.since + rules.max_delay) else { return };
    loop {
        while let Ok(waiting) = receiver.try_recv() {
            queue.push_back(waiting);
        }
        let rows: u64 = queue.iter().map(|waiting| u64::from(waiting.rows)).sum();
        if rows >= u64::from(rules.max_batch) || Instant::now() >= until {
            return;
        }
        match tokio::time::timeout_at(until.into(), receiver.recv()).await {
            Ok(Some(waiting)) => queue.push_back(waiting),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Takes the first run and those after it that fit beside it. Who has gone away is left out.
fn take(queue: &mut VecDeque<Waiting>, max_batch: u32) -> Vec<Waiting> {
    queue.retain(|waiting| !waiting.answer.is_closed());
    let mut batch: Vec<Waiting> = Vec::new();
    let mut rows = 0u32;
    let mut at = 0;
    while at < queue.len() {
        let next = &queue[at];
        // The first is taken whatever its size: one request may be larger than a batch.
        let room = batch.is_empty() || rows.saturating_add(next.rows) <= max_batch;
        if room && batch.first().is_none_or(|first| first.fits(next)) {
            rows = rows.saturating_add(next.rows);
            batch.extend(queue.remove(at));
        } else {
            at += 1;
        }
    }
    batch
}

/// Runs a batch and gives each its rows. If the whole fails, each is run alone: the error of one is not the others'.
fn answer(model: &dyn Model, batch: Vec<Waiting>) {
    if let [single] = batch.as_slice() {
        let result = model.run(&single.inputs);
        let [single] = <[Waiting; 1]>::try_from(batch).unwrap_or_else(|_| unreachable!("just matched"));
        let _ = single.answer.send(result);
        return;
    }
    let rows: Vec<u32> = batch.iter().map(|waiting| waiting.rows).collect();
    let parts = model.run(&join(&batch)).and_then(|outputs| split(&outputs, &rows));
    match parts {
        Ok(parts) => {
            for (waiting, outputs) in batch.into_iter().zip(parts) {
                let _ = waiting.answer.send(Ok(outputs));
            }
        }
        Err(error) => {
            tracing::warn!("a batch of {} failed and its runs are made alone: {error}", rows.len());
            for waiting in batch {
                let result = model.run(&waiting.inputs);
                let _ = waiting.answer.send(result);
            }
        }
    }
}

/// One tensor for each input, with the rows of all runs in their order.
fn join(batch: &[Waiting]) -> Vec<Tensor> {
    let first = &batch[0].inputs;
    (0..first.len())
        .map(|input| {
            let mut dimensions = first[input].dimensions.clone();
            dimensions[0] = batch.iter().map(|waiting| waiting.rows).sum();
            let bytes = batch.iter().map(|waiting| waiting.inputs[input].data.len()).sum();
            let mut data = Vec::with_capacity(bytes);
            batch.iter().for_each(|waiting| data.extend_from_slice(&waiting.inputs[input].data));
            Tensor::new(dimensions, first[input].ty, data)
        })
        .collect()
}

/// The outputs of each run: its rows of every output.
fn split(outputs: &Outputs, rows: &[u32]) -> Result<Vec<Outputs>, String> {
    let all: u32 = rows.iter().sum();
    let mut parts: Vec<Outputs> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for (name, tensor) in outputs {
        if tensor.dimensions.first() != Some(&all) {
            let shape = &tensor.dimensions;
            return Err(format!("output `{name}` has shape {shape:?} for a batch of {all} rows"));
        }
        let row = tensor.data.len() / all as usize;
        let mut at = 0;
        for (part, &rows) in parts.iter_mut().zip(rows) {
            let mut dimensions = tensor.dimensions.clone();
            dimensions[0] = rows;
            let end = at + row * rows as usize;
            part.push((name.clone(), Tensor::new(dimensions, tensor.ty, tensor.data[at..end].to_vec())));
            at = end;
        }
    }
    Ok(parts)
}
