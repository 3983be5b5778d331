//! The steps between a step that makes items and those that gather them: once for each item. Several items run at the same
//! time: one in the task of the request, others in tasks of their own, each of which waits for a permit. Requests take
//! turns, because a task returns its permit after each item.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::{PipelineError, failed};
use super::gathered::{ItemError, message};
use super::in_flight::{Run, StepInput, resume};
use super::values::{Value, joined};
use crate::cap::{RequestBytes, RequestMemory};
use crate::outcome::Outcome;
use crate::stage::{Bundle, RunObserver, StageError};
use crate::tensor::Tensor;

/// Maximum number of items of one request that run at the same time.
const MAX_LANES: usize = 16;

/// What the steps made of an item: what each exit of the region handed on.
type Made = Result<Vec<Bundle>, PipelineError>;

/// The items of a request that have not begun.
struct Queue {
    items: Mutex<std::iter::Enumerate<std::vec::IntoIter<Bundle>>>,
    /// Items after this one need not run: an item has failed, and with it the request.
    last: AtomicUsize,
    /// The end of the request.
    deadline: Instant,
    /// True once an item was taken after the end. It fails at once, and reports that the time is over; others need not run.
    is_over: AtomicBool,
}

impl Queue {
    fn next(&self) -> Option<(usize, Bundle)> {
        if Instant::now() >= self.deadline && self.is_over.swap(true, Relaxed) {
            return None;
        }
        let next = self.items.lock().unwrap_or_else(PoisonError::into_inner).next();
        next.filter(|(item, _)| *item <= self.last.load(Relaxed))
    }
}

/// What the steps of a region take.
struct Region {
    number: usize,
    shared: HashMap<usize, Bundle>,
}

/// Runs the steps of a region for each item. Returns what its exits hand on, in the order of the items.
pub(super) async fn run(
    run: Run<'_>,
    region: usize,
    items: Vec<Bundle>,
    shared: HashMap<usize, Bundle>,
    observer: &mut dyn RunObserver,
) -> Result<Vec<(usize, Value)>, PipelineError> {
    let total = items.len();
    let is_partial = run.graph.is_partial(region);
    let (memory, deadline) = (observer.memory().cloned(), observer.deadline());
    // An item that fails is still known by the context with which it was made.
    let contexts: Vec<_> = items.iter().filter(|_| is_partial).map(|item| Arc::clone(&item.context)).collect();
    let queue = Arc::new(Queue {
        items: Mutex::new(items.into_iter().enumerate()),
        last: AtomicUsize::new(usize::MAX),
        deadline,
        is_over: AtomicBool::new(false),
    });
    let region = Arc::new(Region { number: region, shared });
    let (results, mut received) = mpsc::unbounded_channel();
    let mut lanes = JoinSet::new();
    let shared = run.shared();
    for _ in 1..total.min(MAX_LANES) {
        let Some(mut observer) = observer.fork() else { break };
        let (shared, region, queue) = (Arc::clone(&shared), Arc::clone(&region), Arc::clone(&queue));
        let results = results.clone();
        lanes.spawn(async move {
            while let Ok(permit) = Arc::clone(&shared.permits).acquire_owned().await {
                let Some((item, input)) = queue.next() else { return };
                let made = run_item(shared.run(), &region, item, input, &mut *observer).await;
                drop(permit);
                let _ = results.send((item, made));
            }
        });
    }
    let has_lanes = !lanes.is_empty();
    let own = async {
        while let Some((item, input)) = queue.next() {
            let _ = results.send((item, run_item(run, &region, item, input, observer).await));
        }
        std::future::pending::<()>().await;
    };
    let collect = async {
        let mut made: Vec<Option<Made>> = (0..total).map(|_| None).collect();
        let mut is_done = total == 0;
        // The items before this one have a result.
        let mut complete = 0;
        // What waits for the other items is memory of the request.
        let mut held = Vec::new();
        let mut expired = None;
        while !is_done {
            tokio::select! {
                Some((item, result)) = received.recv() => {
                    let result = match &memory {
                        Some(memory) => result.and_then(|bundles| {
                            held.push(hold(run, region.number, memory, &bundles).map_err(|error| of_item(item, error))?);
                            Ok(bundles)
                        }),
                        None => result,
                    };
                    let result = match result {
                        // The time of the request is over: the items that have not begun would not run any more.
                        Err(error) if error.error.outcome == Outcome::Deadline && Instant::now() >= deadline => {
                            expired = Some(error);
                            break;
                        }
                        result => result,
                    };
                    if result.is_err() && !is_partial {
                        queue.last.fetch_min(item, Relaxed);
                    }
                    made[item] = Some(result);
                    // Of several items that fail, the first one is the error, so those before it must end.
                    let needed = queue.last.load(Relaxed).saturating_add(1).min(total);
                    complete += made[complete..].iter().take_while(|made| made.is_some()).count();
                    is_done = complete >= needed;
                    // An item that was taken after the end may not fail by itself: its steps may be none, or fail before
                    // they look at the time. The items after it are not run, so nothing else would end the request.
                    if !is_done && queue.is_over.load(Relaxed) {
                        let plan = &run.graph.plan.regions[region.number];
                        let stage = run.graph.core(plan.steps.last().copied().unwrap_or(plan.maker), run.chip);
                        expired = Some(of_item(item, failed(stage)(StageError::deadline())));
                        break;
                    }
                }
                Some(ended) = lanes.join_next() => ended.unwrap_or_else(resume),
                else => is_done = true,
            }
        }
        // Those that still run are not needed. They end, and are reported, before the request goes on.
        lanes.shutdown().await;
        expired.map_or(Ok(made), Err)
    };
    let made = tokio::select! {
        biased;
        made = collect => made,
        () = own => Ok(Vec::new()),
    };
    if has_lanes {
        observer.joined();
    }
    exits(run, region.number, made?, is_partial.then_some(&contexts))
}

/// Counts what an item hands on in the limit of the request, besides the bytes of its tensors, which the stages count: its
/// contexts, and the names and shapes of its tensors, also of those that it shares with other items.
fn hold(
    run: Run<'_>,
    region: usize,
    memory: &Arc<RequestMemory>,
    bundles: &[Bundle],
) -> Result<RequestBytes, PipelineError> {
    let plan = &run.graph.plan.regions[region];
    let of_tensor = |(name, tensor): &(String, Tensor)| size_of::<Tensor>() + name.len() + 4 * tensor.dimensions.len();
    let of_bundle = |it: &Bundle| it.context.len() + it.tensors.iter().map(of_tensor).sum::<usize>();
    let bytes = bundles.iter().map(of_bundle).sum::<usize>() as u64;
    let last = plan.steps.last().copied().unwrap_or(plan.maker);
    let stage = run.graph.core(last, run.chip);
    memory.hold(bytes).map_err(|limit| failed(stage)(StageError::from_wasmtime(&limit.into())))
}

/// Runs the steps of a region before the step `until`, item by item. Returns what it takes of each item.
pub(super) async fn inputs(
    run: Run<'_>,
    region: usize,
    items: Vec<Bundle>,
    shared: HashMap<usize, Bundle>,
    observer: &mut dyn RunObserver,
    until: usize,
) -> Result<Vec<StepInput>, PipelineError> {
    let region = Region { number: region, shared };
    let mut inputs = Vec::new();
    for (item, input) in items.into_iter().enumerate() {
        match item_input(run, &region, (item, input), observer, until).await {
            Ok(input) => inputs.extend(input.map(|input| StepInput { item: Some(item), input })),
            Err(_) if run.graph.is_partial(region.number) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(inputs)
}

/// Runs the steps before the step `until` for one item. Returns what that step takes.
async fn item_input(
    run: Run<'_>,
    region: &Region,
    (item, input): (usize, Bundle),
    observer: &mut dyn RunObserver,
    until: usize,
) -> Result<Option<Bundle>, PipelineError> {
    let plan = &run.graph.plan.regions[region.number];
    let mut made = HashMap::from([(plan.maker, input)]);
    for &step in &plan.steps {
        let input = input_of(run, region, &made, item, step)?;
        if step == until {
            return Ok(Some(input));
        }
        let value = run.graph.run_step((step, Some(item)), run.chip, observer, run.request, input).await;
        if let Value::One(bundle) = value.map_err(|error| of_item(item, error))? {
            made.insert(step, bundle);
        }
    }
    Ok(None)
}

/// Sorts what was made of the items by the steps that handed it on. `partial` are the contexts of the items, if an item that
/// fails does not fail the request.
fn exits(
    run: Run<'_>,
    region: usize,
    made: Vec<Option<Made>>,
    partial: Option<&Vec<Arc<[u8]>>>,
) -> Result<Vec<(usize, Value)>, PipelineError> {
    let exits = &run.graph.plan.regions[region].exits;
    let mut values: Vec<Vec<Result<Bundle, Arc<ItemError>>>> = exits.iter().map(|_| Vec::new()).collect();
    let lost = || failed(run.graph.core(run.graph.plan.regions[region].maker, run.chip))(StageError::lost());
    for (item, result) in made.into_iter().enumerate() {
        // Items after the first one that failed may have no result, but an error ends the loop.
        match result.ok_or_else(lost)? {
            Ok(bundles) => values.iter_mut().zip(bundles).for_each(|(values, bundle)| values.push(Ok(bundle))),
            Err(error) => {
                let Some(contexts) = partial else { return Err(error) };
                let error = Arc::new(ItemError {
                    step: error.stage.name.to_string(),
                    outcome: error.error.outcome,
                    message: message(error.error.public),
                    context: Arc::clone(&contexts[item]),
                });
                values.iter_mut().for_each(|values| values.push(Err(Arc::clone(&error))));
            }
        }
    }
    Ok(exits.iter().copied().zip(values.into_iter().map(Value::Results)).collect())
}

/// Runs the steps of a region for one item, one after the other.
async fn run_item(run: Run<'_>, region: &Region, item: usize, input: Bundle, observer: &mut dyn RunObserver) -> Made {
    let graph = run.graph;
    let plan = &graph.plan.regions[region.number];
    let mut made: HashMap<usize, Bundle> = HashMap::from([(plan.maker, input)]);
    for &step in &plan.steps {
        let input = input_of(run, region, &made, item, step)?;
        let value = graph.run_step((step, Some(item)), run.chip, observer, run.request, input).await;
        let value = value.map_err(|error| of_item(item, error))?;
        if let Value::One(bundle) = value {
            made.insert(step, bundle);
        }
    }
    let exits = plan.exits.iter().map(|exit| made.get(exit).cloned());
    let lost = || of_item(item, failed(graph.core(plan.maker, run.chip))(StageError::lost()));
    exits.collect::<Option<_>>().ok_or_else(lost)
}

/// What a step takes of an item.
fn input_of(
    run: Run<'_>,
    region: &Region,
    made: &HashMap<usize, Bundle>,
    item: usize,
    step: usize,
) -> Result<Bundle, PipelineError> {
    let graph = run.graph;
    let names = |step: usize| graph.name(step);
    let inputs = &graph.steps[step - 1].inputs;
    let input = joined(inputs, &names, |step| made.get(&step).or_else(|| region.shared.get(&step)));
    let stage = graph.core(step, run.chip);
    input.map_err(|text| of_item(item, failed(stage)(StageError::tensor_mismatch(text))))
}

fn of_item(item: usize, error: PipelineError) -> PipelineError {
    PipelineError { item: Some(item), ..error }
}
