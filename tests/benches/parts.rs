//! Measures the cost or benefit of each part of an instance, in process: `cargo bench --bench parts`.
//!
//! A plugin that does nothing is instantiated and dropped, as the host does it and with one change. A figure is the
//! median over its blocks. A difference is the median of the differences within pairs of blocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::engine::{config, pool};
use plimsoll_runtime::scheduling::{Scheduler, Scheduling};
use plimsoll_runtime::stage::Limits;
use plimsoll_runtime::stage::StoreState;
use plimsoll_runtime::stage::linker::linker;
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::{Without, instantiate_in, store_without};
use plimsoll_tests::guest;
use plimsoll_tests::pairs::Pairs;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

const PAIRS: usize = 500;
const RUNS: u32 = 100;
const SLOTS: u32 = 64;
const LIMITS: Limits = Limits {
    max_memory: 256 << 20,
    deadline: Duration::from_secs(10),
    init_deadline: Duration::from_secs(10),
    max_output: 1 << 20,
};
/// A component with as much memory as the plugin, without WASI.
const BARE: &str = "(component (core module $m (memory 5)) (core instance (instantiate $m)))";

/// An engine, and a component that is compiled and linked for it.
struct Bench {
    engine: Engine,
    scheduler: Arc<Scheduler>,
    linker: Linker<StoreState>,
    component: Component,
    pre: InstancePre<StoreState>,
    /// Another plugin on the same engine.
    other: InstancePre<StoreState>,
}

impl Bench {
    fn new(pool: Option<PoolingAllocationConfig>, component: &[u8]) -> Self {
        let mut config = config();
        if let Some(pool) = pool {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        let engine = Engine::new(&config).expect("an engine");
        let linker = linker(&engine).expect("linked");
        let component = Component::new(&engine, component).expect("a component");
        let link = |component: &Component| linker.instantiate_pre(component).expect("its imports are defined");
        let other = std::fs::read(guest("noop-postprocess")).expect("built");
        let (pre, other) = (link(&component), link(&Component::new(&engine, other).expect("a component")));
        let scheduler = Arc::new(Scheduler::new(Scheduling::Fair));
        Self { engine, scheduler, linker, component, pre, other }
    }

    /// Instantiates and drops the component as the host does, without the part that is left out.
    async fn run(&self, without: Without) {
        let store = store_without(&self.engine, &self.scheduler, LIMITS, without);
        instantiate_in(store, &self.pre).await.expect("an instance");
    }

    /// Instantiates and drops the other plugin, then this one.
    async fn run_both(&self) {
        for pre in [&self.other, &self.pre] {
            let store = store_without(&self.engine, &self.scheduler, LIMITS, Without::Nothing);
            instantiate_in(store, pre).await.expect("an instance");
        }
    }

    /// Instantiates and drops the component, but links it again first.
    async fn link_and_run(&self) {
        let store = store_without(&self.engine, &self.scheduler, LIMITS, Without::Nothing);
        let pre = self.linker.instantiate_pre(&self.component).expect("its imports are defined");
        instantiate_in(store, &pre).await.expect("an instance");
    }
}

/// Adds a row: the change, the times of a run without and with it, and the difference.
async fn row(table: &mut Table, pairs: usize, what: &str, as_is: impl AsyncFn(), changed: impl AsyncFn()) {
    async fn block(run: &impl AsyncFn()) -> f64 {
        let started = Instant::now();
        for _ in 0..RUNS {
            run().await;
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
    }
    let times = Pairs::run(pairs, async || block(&as_is).await, async || block(&changed).await).await;
    let (before, after) = (times.median(|before, _| before), times.median(|_, after| after));
    table.row(&[what], &[before, after, times.median(|before, after| after - before)]);
}

fn main() {
    let pairs = bench::count(PAIRS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut table = Table::new("parts", &[("changed", 58)], &[("as is µs", 2), ("then µs", 2), ("more µs", 2)]);
    runtime.block_on(rows(&mut table, pairs));
    table.end(&format!(
        "a small plugin is instantiated and dropped; medians of {pairs} pairs of blocks of {RUNS} runs, one thread"
    ));
}

async fn rows(table: &mut Table, pairs: usize) {
    let plugin = std::fs::read(guest("noop-preprocess")).expect("built");
    let with = |slots: u32, change: fn(&mut PoolingAllocationConfig)| {
        let mut pool = pool(slots);
        change(&mut pool);
        Bench::new(Some(pool), &plugin)
    };
    let host = with(SLOTS, |_| ());
    let as_is = async || host.run(Without::Nothing).await;
    row(table, pairs, "nothing (the noise of this benchmark)", as_is, as_is).await;
    row(table, pairs, "no cap on memory", as_is, async || host.run(Without::Cap).await).await;
    row(table, pairs, "no deadline", as_is, async || host.run(Without::Deadline).await).await;
    row(table, pairs, "only the store and its data (WASI, tables, log)", as_is, async || {
        drop(store_without(&host.engine, &host.scheduler, LIMITS, Without::Nothing));
    })
    .await;
    row(table, pairs, "linked for every instance, without InstancePre", as_is, async || host.link_and_run().await)
        .await;

    for (what, changed) in [
        (
            "memories returned to the kernel, not reset in place",
            with(SLOTS, |pool| {
                pool.linear_memory_keep_resident(0);
            }),
        ),
        (
            "tables returned to the kernel, not reset in place",
            with(SLOTS, |pool| {
                pool.table_keep_resident(0);
            }),
        ),
        ("a pool of 16 slots instead of 64", with(16, |_| ())),
        ("a pool of 512 slots", with(512, |_| ())),
        ("no pool, instances allocated on demand", Bench::new(None, &plugin)),
        (
            "a component with as much memory and no WASI",
            Bench::new(Some(pool(SLOTS)), &wat::parse_str(BARE).expect("text of a component")),
        ),
    ] {
        row(table, pairs, what, as_is, async || changed.run(Without::Nothing).await).await;
    }
    let cold = with(SLOTS, |pool| {
        pool.max_unused_warm_slots(0);
    });
    let both = async || host.run_both().await;
    row(table, pairs, "two plugins alternately, and no slot stays warm for one", both, async || cold.run_both().await)
        .await;
}
