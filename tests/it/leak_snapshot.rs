//! Components that are snapshots of a heap (Wizer): their initialised data covers what the heap held before. The laboratory
//! walks them, and what the snapshot holds is no leak.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_runtime::component::error::Rejection;
use plimsoll_runtime::component::snapshot::take;
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::stage::call::PreprocessExport;
use plimsoll_runtime::stage::linker::linker;
use plimsoll_runtime::stage::{Limits, Request, StoreState};
use plimsoll_tests::bench_support::{Without, store_without};
use plimsoll_tests::{TempDir, guest};
use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use crate::leak::{ALL, Laboratory, corpus, held_by, text, wrong_classes};

const LIMITS: Limits = Limits {
    max_memory: 256 << 20,
    deadline: Duration::from_secs(60),
    init_deadline: Duration::from_secs(60),
    max_output: 1 << 20,
};

/// The guest with the memory that it has after some calls.
async fn after_calls(name: &str, calls: usize) -> Vec<u8> {
    let bytes = std::fs::read(guest(name)).expect("built");
    let runtime = Runtime::new(4, Scheduling::Fair, None).expect("an engine");
    let linker = linker(&runtime.engine).expect("linked");
    let scheduler = Arc::clone(&runtime.scheduler);
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let forms = [&bytes[..]];
    let snapshot = take(
        |bytes| Component::new(&runtime.engine, bytes).map_err(Rejection::Compile),
        &bytes,
        &forms,
        || store_without(&runtime.engine, &scheduler, LIMITS, Without::Nothing),
        async |store: &mut Store<StoreState>, component: &Component| -> Result<Instance, Rejection> {
            let pre = linker.instantiate_pre(component).map_err(Rejection::World)?;
            let export = PreprocessExport::new(&pre).map_err(Rejection::World)?;
            let instance = pre.instantiate_async(&mut *store).await.map_err(Rejection::World)?;
            for call in 0..calls {
                let body = vec![call as u8; 100 + call];
                export.call(store, &instance, &request, &body).await.map_err(Rejection::World)?.expect_err("no image");
            }
            Ok(instance)
        },
    );
    snapshot.await.expect("it runs").expect("a snapshot")
}

fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.path().join(name).with_extension("wasm");
    std::fs::write(&file, bytes).expect("written");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_in_a_snapshot_is_found_and_what_the_snapshot_holds_is_none() {
    let (folder, corpus) = (TempDir::new().expect("a folder"), corpus());
    // 2,000 records of 1,000 bytes are in the snapshot: more than the memory that the guest had at first.
    let leaking = written(&folder, "static_vec", &after_calls("static_vec", 2_000).await);
    let laboratory = Laboratory::new();
    let output = laboratory.run(&leaking, corpus.path(), &["--no-trace"]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
    let report = laboratory.report();
    // A block of 1,000 bytes, and a part of the vector that lists them.
    let wrong = wrong_classes(&report, ALL, (1_000.0, 1_030.0));
    assert!(wrong.is_empty(), "{wrong:?} {summary}");
    let held = held_by(&report);
    assert!(held.starts_with("static "), "{held}: {summary}");

    // Two of three classes do not leak: the blocks of the snapshot stay what they are.
    let on_one = written(&folder, "one_outcome", &after_calls("one_outcome", 500).await);
    let laboratory = Laboratory::new();
    let output = laboratory.run(&on_one, corpus.path(), &["--no-trace"]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
    let wrong = wrong_classes(&laboratory.report(), &["unsupported_media_type"], (5_000.0, 5_100.0));
    assert!(wrong.is_empty(), "{wrong:?} {summary}");
}
