//! What each part of an instance gives or costs, in process: `cargo bench --bench parts`.
//!
//! A plugin that does nothing is instantiated and dropped as the host does it, and with one thing changed. Blocks of both
//! alternate, in turned order, so that whatever else the machine does meets both alike; a figure is the median of its
//! blocks, and the difference is that of the pairs.

use std::time::{Duration, Instant};

use plimsoll::engine::{config, pool};
use plimsoll::stage::Limits;
use plimsoll::stage::apart::{Without, instantiate_in, store_without};
use plimsoll::stage::state::{State, linker};
use plimsoll_tests::guest;
use tokio::runtime::Runtime;
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
/// As much memory as the plugin has, and nothing of WASI.
const BARE: &str = "(component (core module $m (memory 5)) (core instance (instantiate $m)))";

/// An engine with a component that is ready for it.
struct Bench {
    engine: Engine,
    linker: Linker<State>,
    component: Component,
    pre: InstancePre<State>,
    /// Another plugin on the same engine.
    other: InstancePre<State>,
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
        let ready = |component: &Component| linker.instantiate_pre(component).expect("it imports what there is");
        let other = std::fs::read(guest("noop-postprocess")).expect("built");
        let (pre, other) = (ready(&component), ready(&Component::new(&engine, other).expect("a component")));
        Self { engine, linker, component, pre, other }
    }

    /// Instantiates and drops, as the host does but for what is left out.
    fn run(&self, runtime: &Runtime, without: Without) {
        let store = store_without(&self.engine, LIMITS, without);
        runtime.block_on(instantiate_in(store, &self.pre)).expect("an instance");
    }

    /// The other plugin, then this one.
    fn run_both(&self, runtime: &Runtime) {
        for pre in [&self.other, &self.pre] {
            let store = store_without(&self.engine, LIMITS, Without::Nothing);
            runtime.block_on(instantiate_in(store, pre)).expect("an instance");
        }
    }

    /// The same, linked anew.
    fn link_and_run(&self, runtime: &Runtime) {
        let store = store_without(&self.engine, LIMITS, Without::Nothing);
        let pre = self.linker.instantiate_pre(&self.component).expect("it imports what there is");
        runtime.block_on(instantiate_in(store, &pre)).expect("an instance");
    }
}

fn main() {
    // `cargo test --benches` passes `--test`, and wants to know only that it runs.
    let pairs = if std::env::args().any(|argument| argument == "--bench") { PAIRS } else { 2 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let plugin = std::fs::read(guest("noop-preprocess")).expect("built");
    let with = |change: fn(&mut PoolingAllocationConfig), slots: u32| {
        let mut pool = pool(slots);
        change(&mut pool);
        Bench::new(Some(pool), &plugin)
    };
    let host = with(|_| (), SLOTS);
    let as_it_is = |bench: &Bench| bench.run(&runtime, Without::Nothing);

    println!(
        "{:<58} {:>8} {:>8} {:>8}",
        "instantiate and drop a plugin, with one thing changed", "as is", "changed", "more"
    );
    let print = |what: &str, is: &dyn Fn(), changed: &dyn Fn()| {
        let (is, was, more) = compare(pairs, is, changed);
        println!("{what:<58} {is:>8.2} {was:>8.2} {more:>8.2}");
    };
    let row = |what: &str, changed: &dyn Fn()| print(what, &|| as_it_is(&host), changed);
    row("nothing (what the bench itself cannot tell)", &|| as_it_is(&host));
    row("no cap on memory", &|| host.run(&runtime, Without::Cap));
    row("no deadline", &|| host.run(&runtime, Without::Deadline));
    row("only the store and its data (WASI, tables, log)", &|| {
        drop(store_without(&host.engine, LIMITS, Without::Nothing));
    });
    row("linked for every instance, without InstancePre", &|| host.link_and_run(&runtime));
    let changed = with(
        |pool| {
            pool.linear_memory_keep_resident(0);
        },
        SLOTS,
    );
    row("memories given back to the kernel, not written anew", &|| as_it_is(&changed));
    let changed = with(
        |pool| {
            pool.table_keep_resident(0);
        },
        SLOTS,
    );
    row("tables given back to the kernel, not written anew", &|| as_it_is(&changed));
    let changed = with(|_| (), 16);
    row("a pool of 16 slots instead of 64", &|| as_it_is(&changed));
    let changed = with(|_| (), 512);
    row("a pool of 512 slots", &|| as_it_is(&changed));
    let changed = Bench::new(None, &plugin);
    row("no pool, instances allocated on demand", &|| as_it_is(&changed));
    let changed = Bench::new(Some(pool(SLOTS)), &wat::parse_str(BARE).expect("text of a component"));
    row("a component with as much memory and no WASI", &|| as_it_is(&changed));
    let changed = with(
        |pool| {
            pool.max_unused_warm_slots(0);
        },
        SLOTS,
    );
    print("two plugins in turn, and no slot stays warm for one", &|| host.run_both(&runtime), &|| {
        changed.run_both(&runtime);
    });
    println!("microseconds; medians of {pairs} pairs of blocks of {RUNS}, one thread");
}

/// The medians of both, and that of their differences, in microseconds of one run.
fn compare(pairs: usize, one: &dyn Fn(), other: &dyn Fn()) -> (f64, f64, f64) {
    let block = |run: &dyn Fn()| {
        let started = Instant::now();
        (0..RUNS).for_each(|_| run());
        started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
    };
    let (mut ones, mut others, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (a, b);
        if pair % 2 == 0 {
            (a, b) = (block(one), block(other));
        } else {
            b = block(other);
            a = block(one);
        }
        ones.push(a);
        others.push(b);
        more.push(b - a);
    }
    (median(ones), median(others), median(more))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
