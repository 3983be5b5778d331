//! Invalid configurations are rejected before a port opens. The message names file, key and reason.

use plimsoll_tests::{Server, TempDir, guests_config};

async fn assert_rejected(toml: &str, words: &[&str]) {
    let message = Server::rejection(toml).await;
    assert!(message.starts_with("test.toml: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected_with_key_and_value() {
    let good = guests_config("tester", "");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        good.replace(from, to)
    };
    assert_rejected("", &["pipelines"]).await;
    assert_rejected("[pipelines]", &["pipelines", "there is no pipeline"]).await;
    assert_rejected(&guests_config("tester", "max_memroy = 1"), &["line", "max_memroy", "max_memory"]).await;
    assert_rejected(&guests_config("tester", "max_memory = \"much\""), &["line", "max_memory"]).await;
    assert_rejected(&guests_config("tester", "deadline = \"soon\""), &["line", "deadline"]).await;
    assert_rejected(&guests_config("tester", "deadline = \"2days\""), &["pipelines.p.preprocess.deadline", "a day"])
        .await;
    assert_rejected(
        &guests_config("tester", "max_memory = \"64KiB\""),
        &["pipelines.p.preprocess.max_memory", "65536"],
    )
    .await;
    assert_rejected(&format!("[server]\nmax_concurrency = 0\n{good}"), &["server.max_concurrency"]).await;
    assert_rejected(&format!("[deploy]\npoll = \"0s\"\n{good}"), &["deploy.poll"]).await;
    assert_rejected(&format!("[server]\nbody_budget = \"1MiB\"\n{good}"), &["server.body_budget", "max_body"]).await;
    assert_rejected(
        &with("plugin = \"echo-infer\"", "plugin = \"nobody\""),
        &["pipelines.p.chips.echo.plugin", "`nobody`"],
    )
    .await;
    assert_rejected(
        &with("plugin = \"echo-infer\"", "plugin = \"echo-postprocess\""),
        &["pipelines.p.chips.echo.plugin", "is not a plugin of kind `infer`", "postprocess"],
    )
    .await;
    assert_rejected(
        &with("plugin = \"echo-infer\"", "plugin = \"infer-native\"\nmodel = \"ghost\""),
        &["pipelines.p.chips.echo.model", "`ghost`"],
    )
    .await;
    assert_rejected(
        &format!("{good}[models.m]\nfile = \"nowhere.onnx\"\n"),
        &["models.m", "nowhere.onnx", "cannot be read"],
    )
    .await;
    assert_rejected(
        &format!("{good}[models.m]\nfile = \"bundled:digits-labels.txt\"\n"),
        &["models.m", "rten cannot load", "digits-labels.txt"],
    )
    .await;
    assert_rejected(
        &format!(
            "{good}[models.m]\nfile = \"bundled:digits.onnx\"\nbackend = \"onnxruntime\"\n\
             [backends.onnxruntime]\nlibrary = \"/no/such/libonnxruntime.so\"\n"
        ),
        &["models.m", "/no/such/libonnxruntime.so", "library", "ORT_DYLIB_PATH"],
    )
    .await;
    assert_rejected(
        &good.replace(
            "[pipelines.p.postprocess]",
            "[pipelines.p.chips.other]\nplugin = \"echo-infer\"\n[pipelines.p.postprocess]",
        ),
        &["pipelines.p.default_chip", "echo", "other"],
    )
    .await;
    assert_rejected(
        &with("[pipelines.p.preprocess]", "[pipelines.p]\ndefault_chip = \"x\"\n[pipelines.p.preprocess]"),
        &["pipelines.p.default_chip", "`x`"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_an_unknown_import_and_a_file_that_is_not_a_component_are_rejected() {
    let folder = TempDir::new().expect("a folder");
    let text = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/bad-import.wat");
    let file = folder.path().join("bad-import.wasm");
    let config = |file: &std::path::Path| {
        guests_config("tester", "").replace("plugin = \"tester\"", "plugin = \"bad-import\"")
            + &format!("[plugins.bad-import]\nfile = {file:?}\n")
    };
    std::fs::write(&file, wat::parse_file(text).expect("valid text")).expect("written");
    assert_rejected(&config(&file), &["pipelines.p.preprocess.plugin", "bad-import", "plimsoll:stage/teleport@0.1.0"])
        .await;
    std::fs::write(&file, b"not wasm at all").expect("written");
    assert_rejected(&config(&file), &["bad-import", "is not a component"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_a_stage_overrides_that_of_the_plugin() {
    let config =
        guests_config("tester", "").replace("[plugins.tester]\n", "[plugins.tester]\nmax_memory = \"16MiB\"\n");
    let server = Server::start(&config).await;
    let limit = |reply: &plimsoll_tests::Reply| reply.json()["limit_bytes"].as_u64();
    assert_eq!(limit(&server.infer("p", "?do=grow", "").await), Some(16 << 20));
    let server =
        Server::start(&config.replace("plugin = \"tester\"", "plugin = \"tester\"\nmax_memory = \"24MiB\"")).await;
    assert_eq!(limit(&server.infer("p", "?do=grow", "").await), Some(24 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_key_in_a_plugins_configuration_is_reported_at_deployment() {
    let config = "[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\nconfig = { width = 8, hieght = 8 }\n\
                  [pipelines.p.chips.x]\nplugin = \"infer-native\"\n\
                  [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n";
    assert_rejected(config, &["pipelines.p.preprocess.plugin", "hieght"]).await;
}
