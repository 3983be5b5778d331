//! Functions that are kept while stages are built: the code is the same as without them, and a component that runs `init` is
//! compiled only once.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::base::bundled;
use plimsoll_runtime::component::{Artifact, CompiledCache, Preparer};
use plimsoll_runtime::engine::{Runtime, config};
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::stage::{Limits, StageEnvironment};
use plimsoll_tests::{TempDir, another_version};
use wasmtime::Engine;

const LIMITS: Limits = Limits {
    max_memory: 64 << 20,
    deadline: Duration::from_secs(60),
    init_deadline: Duration::from_secs(60),
    max_output: 1 << 20,
};

/// What `image-preprocess` needs.
fn environment() -> StageEnvironment {
    let settings = ["width", "height"].map(|key| (key.to_owned(), "32".to_owned()));
    StageEnvironment::new("image-preprocess".into(), settings.into(), BTreeMap::new(), None)
}

#[test]
fn code_of_kept_functions_is_the_same_as_code_that_is_compiled_anew() {
    let runtime = Runtime::new(4, Scheduling::Fair, None).expect("an engine");
    let plain = Engine::new(&config()).expect("an engine");
    // All shipped plugins except the largest: they share the functions of their libraries.
    for name in bundled::names().filter(|name| *name != "infer-wasm") {
        let component = bundled::plugin(name).expect("shipped");
        let anew = plain.precompile_component(component).expect("compiled");
        let first = runtime.engine.precompile_component(component).expect("compiled");
        assert!(first == anew, "{name}");
        runtime.functions.begin();
        let again = runtime.engine.precompile_component(component).expect("compiled");
        assert!(again == anew, "{name}, again");
        assert!(runtime.functions.used().is_none(), "{name}: most functions were found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_the_functions_of_the_component_that_ran_init() {
    let component = bundled::plugin("image-preprocess").expect("shipped");
    let runtime = Runtime::new(4, Scheduling::Fair, None).expect("an engine");
    let kept_after = |runtime: &Runtime| runtime.functions.bytes();
    runtime.engine.precompile_component(component).expect("compiled");
    let once = kept_after(&runtime);
    runtime.functions.clear();
    assert_eq!(kept_after(&runtime), 0);

    let preparer = Preparer::new(&runtime, None).expect("a preparer");
    let artifact = Artifact::new("image-preprocess", None, component.into()).expect("a plugin");
    preparer.stage(&artifact, StageKind::Preprocess, LIMITS, environment()).await.expect("a stage");
    let twice = kept_after(&runtime);
    // Without the exported globals it is 1.7 times as many bytes.
    assert!(twice < once * 3 / 2, "{twice} bytes of functions, {once} of one compilation");
    preparer.finish_build();
    assert_eq!(kept_after(&runtime), 0, "nothing is kept after the build");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_functions_of_a_new_version_that_changed_are_compiled() {
    let folder = TempDir::new().expect("a folder");
    let component = bundled::plugin("image-preprocess").expect("shipped");
    // Two runs of a program, one after the other. Returns true if functions were compiled.
    let compiles = async |version: u8| {
        let cache = CompiledCache::open(folder.path(), 1 << 30).expect("a cache");
        let runtime = Runtime::new(4, Scheduling::Fair, None).expect("an engine");
        let preparer = Preparer::new(&runtime, Some(cache.into())).expect("a preparer").keep_functions();
        let component = another_version(component, version);
        let artifact = Artifact::new("image-preprocess", None, component.into()).expect("a plugin");
        let stage = preparer.stage(&artifact, StageKind::Preprocess, LIMITS, environment()).await;
        stage.expect("a stage").instantiate_only().await.expect("an instance");
        runtime.functions.used().is_some()
    };
    assert!(compiles(1).await);
    assert!(!compiles(2).await);
    assert!(!compiles(3).await);
    // Nothing that was changed on the disk is used.
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "functions") {
            let mut bytes = std::fs::read(&path).expect("an entry");
            *bytes.last_mut().expect("bytes") ^= 1;
            std::fs::write(&path, bytes).expect("written");
        }
    }
    assert!(compiles(4).await);
    assert!(!compiles(5).await);
}
