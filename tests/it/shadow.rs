//! A shadow chip: its outputs are compared with those of the chip that answers, and it never changes, delays or fails a
//! request.

mod pipelines;

use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, another_version, data, guests_config, shared_cache};
use serde_json::{Value, json};

pub(crate) use self::pipelines::{A, ALL, comparisons, digits, guests, infer_digit, runs, settled, shadow_metric};
use crate::batching::metric;
use crate::cli::{run, text};
use crate::models::onnxruntime;

#[tokio::test(flavor = "multi_thread")]
async fn two_backends_of_one_model_agree() {
    let Some(library) = onnxruntime() else { return };
    let models = format!(
        "[backends.onnxruntime]\nlibrary = {library:?}\n{A}[models.b]\nfile = \"bundled:digits.onnx\"\n\
         backend = \"onnxruntime\"\n"
    );
    let server = Server::start(&digits(&models, ALL, "")).await;
    for digit in 0..10 {
        infer_digit(&server, digit).await;
    }
    let pair = settled(&server, 10).await;
    assert_eq!((&pair["chip"], &pair["shadow"], &pair["compared"]), (&json!("a"), &json!("b"), &json!(10)), "{pair}");
    let output = &pair["outputs"][0];
    let number = |what: &str| output[what]["max"].as_f64().expect("a number");
    assert!(number("relative") < 1e-4 && number("absolute") < 1e-3 && number("cosine_distance") < 1e-6, "{pair}");
    assert_eq!((&output["name"], &output["compared"]), (&json!("logits"), &json!(10)), "{pair}");
    assert_eq!(output["scores"], json!({ "rows": 10, "top1_agreement": 1.0, "top5_agreement": 1.0 }), "{pair}");
    let counted = output["relative"]["histogram"].as_array().expect("buckets").iter();
    assert_eq!(counted.map(|bucket| bucket["count"].as_u64().expect("a count")).sum::<u64>(), 10, "{pair}");
    for (name, rest, expected) in [
        ("runs_total", ",result=\"compared\",reason=\"\"", 10.0),
        ("relative_difference_count", "", 10.0),
        ("absolute_difference_count", "", 10.0),
        ("cosine_distance_count", "", 10.0),
        ("duration_seconds_count", "", 10.0),
        ("score_rows_total", "", 10.0),
        ("top1_agreements_total", "", 10.0),
        ("top5_agreements_total", "", 10.0),
    ] {
        assert_eq!(shadow_metric(&server, name, "a", rest).await, expected, "{name}");
    }
    // The runs of the shadow are no requests, and no runs of their stages.
    let text = server.get("/metrics").await.text;
    assert_eq!(metric(&text, "plimsoll_requests_total{pipeline=\"p\",chip=\"a\",outcome=\"ok\"}"), 10.0);
    assert!(!text.contains("plimsoll_requests_total{pipeline=\"p\",chip=\"b\""), "{text}");
    let report = server.get("/v1/memory").await.text;
    assert!(report.contains("\"chip\":\"a\"") && !report.contains("\"chip\":\"b\""), "{report}");
    // Tensors over the Open Inference Protocol are shadowed, too, and images.
    let input = json!({ "name": "image", "datatype": "FP32", "shape": [2, 1, 8, 8], "data": vec![0.5; 128] });
    let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let pair = settled(&server, 11).await;
    assert_eq!(pair["outputs"][0]["scores"]["rows"], 12, "{pair}");
    // A request that names the shadow chip has nothing to compare with.
    let body = std::fs::read(data("digits/4.png")).expect("a digit");
    assert_eq!(server.infer("p", "?chip=b", body).await.status, 200);
    infer_digit(&server, 4).await;
    settled(&server, 12).await;
}

/// Two versions of one plugin: two files, of which the second one is the shadow.
#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_a_plugin_are_compared() {
    let folder = TempDir::new().expect("a folder");
    let native = plimsoll::base::bundled::plugin("infer-native").expect("bundled");
    let [old, new] = [1, 2].map(|mark| {
        let file = folder.path().join(format!("infer-{mark}.wasm"));
        std::fs::write(&file, another_version(native, mark)).expect("written");
        file
    });
    let plugins = format!("[plugins.infer-old]\nfile = {old:?}\n[plugins.infer-new]\nfile = {new:?}\n");
    let config = format!("{plugins}{}", digits(&format!("{A}[models.b]\nfile = \"bundled:digits.onnx\"\n"), ALL, ""))
        .replace("chips.a]\nplugin = \"infer-native\"", "chips.a]\nplugin = \"infer-old\"")
        .replace("chips.b]\nplugin = \"infer-native\"", "chips.b]\nplugin = \"infer-new\"");
    let server = Server::start(&config).await;
    for digit in 0..10 {
        infer_digit(&server, digit).await;
    }
    let pair = settled(&server, 10).await;
    assert_eq!((&pair["compared"], &pair["largest"]["relative"]), (&json!(10), &Value::Null), "{pair}");
    assert_eq!(pair["outputs"][0]["scores"]["top1_agreement"], 1.0, "{pair}");
    assert_eq!(pair["outputs"][0]["relative"]["max"], 0.0, "{pair}");
    // A new version of the shadow's file is another plugin: the one that answers stays.
    let listed = server.get("/v1/plugins").await.text;
    assert!(listed.contains("infer-old") && listed.contains("infer-new"), "{listed}");
    let broken = server.send("PUT", "/v1/plugins/infer-new", &[], b"no component".to_vec()).await;
    assert_eq!(broken.status, 422, "{}", broken.text);
    infer_digit(&server, 4).await;
    settled(&server, 11).await;
}

/// A network with the inputs and outputs of the digits, and other weights.
fn other_network(folder: &Path) -> String {
    let weights: Vec<f32> = (0..640).map(|place| ((place * 37) % 101) as f32 / 101.0 - 0.5).collect();
    let model = Onnx::new(17)
        .input("image", &[None, Some(1), Some(8), Some(8)])
        .floats("w", &[64, 10], &weights)
        .node("Flatten", &["image"], "f", &[("axis", 1)])
        .node("MatMul", &["f", "w"], "logits", &[])
        .output("logits", &[None, Some(10)]);
    let file = folder.join("other.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    format!("{A}[models.b]\nfile = {file:?}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_that_computes_something_else_is_seen_and_recorded_and_the_answers_stay() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("recordings");
    let record = format!("{ALL}record = {{ dir = {dir:?} }}\n");
    let config = digits(&other_network(folder.path()), &record, "");
    let server = Server::start(&config).await;
    for digit in 0..10 {
        infer_digit(&server, digit).await;
    }
    let pair = settled(&server, 10).await;
    let output = &pair["outputs"][0];
    assert!(output["scores"]["top1_agreement"].as_f64().expect("a share") < 0.9, "{pair}");
    assert!(
        output["relative"]["max"].as_f64() > Some(0.1) && pair["largest"]["relative"].as_f64() > Some(0.1),
        "{pair}"
    );
    assert!(shadow_metric(&server, "top1_agreements_total", "a", "").await < 9.0);
    server.stop().await;
    // The inputs that differ most are kept with the reason, and with the facts of the request.
    let facts: Vec<Value> = std::fs::read_dir(&dir)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON"))
        .collect();
    let of_shadow =
        |facts: &&Value| facts["kept_for"][0].as_str().is_some_and(|it| it.starts_with("shadow b: relative"));
    let kept: Vec<_> = facts.iter().filter(of_shadow).collect();
    assert!((1..10).contains(&kept.len()), "{facts:?}");
    assert!(kept.iter().any(|facts| facts["kept_for"][0].as_str().expect("text").contains("the best class differs")));
    assert!(
        kept.iter().all(|facts| facts["chip"] == "a" && facts["outcome"] == "ok" && facts["stages"][2] != Value::Null)
    );

    // Offline: the same table for the recorded inputs.
    let file = folder.path().join("plimsoll.toml");
    let cached = format!("cache_dir = {:?}\n", shared_cache());
    std::fs::write(&file, cached + &config).expect("written");
    let (file, dir) = (file.to_str().expect("text"), dir.to_str().expect("text"));
    let replay = |chips: &[&str]| {
        let mut arguments = vec!["replay", dir, "--config", file];
        chips.iter().for_each(|chip| arguments.extend(["--chip", chip]));
        let output = run(&arguments);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = replay(&["a", "b"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let recorded = facts.len();
    let header = "recording     stage  item  chip  compared with  result    absolute  relative  cosine distance";
    assert!(stdout.starts_with(header), "{stdout}");
    let rows = stdout.lines().filter(|line| line.contains("  compared  ")).count();
    assert_eq!(rows, recorded, "{stdout}");
    let summary = format!("pipeline p, stage infer, chip a compared with b: {recorded} compared");
    assert!(stdout.contains(&summary) && stdout.contains("logits"), "{stdout}");
    let (code, stdout, _) = replay(&["a", "a"]);
    let agrees = stdout.lines().filter(|line| line.ends_with("100.00 %  100.00 %") && line.contains("  0  ")).count();
    assert_eq!((code, agrees), (Some(0), recorded + 1), "each recording, and the output: {stdout}");
    let (code, _, stderr) = replay(&["a", "x"]);
    assert!(code == Some(1) && stderr.contains("has no chip `x`; it has a, b"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_decides_how_many_requests_the_shadow_gets() {
    let shadow = "shadow = { chip = \"b\", share = \"10%\" }\n";
    let server = Server::start(&guests("max_shadow_queue = 1000", shadow)).await;
    for _ in 0..400 {
        assert_eq!(server.infer("p", "", "").await.status, 200);
    }
    let started = Instant::now();
    let mut count = 0;
    // The shadow gets 10 % of each block of at most 150 requests, so at least 23 of 400.
    while count < 23 {
        assert!(started.elapsed() < Duration::from_secs(30), "{count} shadow runs");
        count = comparisons(&server).await.first().map_or(0, runs);
    }
    assert!(count <= 57, "{count} shadow runs");
    let reply = server.get("/v1/chips/compare?pipeline=p").await.json();
    assert_eq!(
        reply["shadows"],
        json!([{ "pipeline": "p", "stage": "infer", "default_chip": "echo", "shadow": "b", "share": 0.1 }])
    );
    let pipelines = server.get("/v1/pipelines").await.json();
    assert_eq!(pipelines["pipelines"][0]["shadow"], json!({ "chip": "b", "share": 0.1 }), "{pipelines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_end_with_the_shadow_or_its_version() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let none = guests("", "");
    std::fs::write(&file, guests("", ALL)).expect("written");
    let server = Server::with_config(&plimsoll::config::Config::load(Some(&file)).expect("valid")).await;
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let before = settled(&server, 1).await;
    // With other limits chip `b` is another version of the pipeline, so its figures begin again.
    std::fs::write(&file, guests("", ALL).replace("\"8MiB\"", "\"9MiB\"")).expect("written");
    crate::wrapped::until("no figures", async || comparisons(&server).await.is_empty()).await;
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let after = settled(&server, 1).await;
    assert_ne!(before["version"], after["version"]);
    assert_eq!(shadow_metric(&server, "runs_total", "echo", ",result=\"compared\",reason=\"\"").await, 1.0);
    std::fs::write(&file, none).expect("written");
    crate::wrapped::until("no figures", async || comparisons(&server).await.is_empty()).await;
    let reply = server.get("/v1/chips/compare").await.json();
    assert_eq!(reply, json!({ "shadows": [], "comparisons": [] }));
    assert!(!server.get("/metrics").await.text.contains("pipeline=\"p\",stage=\"infer\",chip=\"echo\",shadow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_for_administrators_and_names_what_it_does_not_know() {
    let server = Server::start(&guests("", ALL)).await;
    let without = server.send_plainly("GET", "/v1/chips/compare", &[], Vec::new()).await;
    assert_eq!(without.status, 401, "{}", without.text);
    let unknown = server.get("/v1/chips/compare?pipeline=q").await;
    assert_eq!(unknown.status, 404, "{}", unknown.text);
    assert!(unknown.text.contains("no pipeline `q`"), "{}", unknown.text);
    assert_eq!(server.get("/v1/chips/compare?by=chip").await.status, 400);
    let document = server.get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/chips/compare"]["get"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_cannot_be_used_is_refused_with_its_key() {
    for (shadow, words) in [
        ("{ chip = \"c\", share = \"1%\" }", "pipelines.p.shadow.chip: there is no chip `c`; set it to one of b"),
        (
            "{ chip = \"echo\", share = \"1%\" }",
            "pipelines.p.shadow.chip: `echo` is the chip of requests that name none",
        ),
        ("{ chip = \"b\", share = \"101%\" }", "pipelines.p.shadow.share: must be from \"0%\" to \"100%\""),
        ("{ chip = \"b\", share = \"-1%\" }", "pipelines.p.shadow.share: must be from"),
        ("{ chip = \"b\", share = \"NaN%\" }", "pipelines.p.shadow.share: must be from"),
        ("{ chip = \"b\", share = \"a lot\" }", "write it as a percentage such as \"5%\""),
        ("{ chip = \"b\" }", "missing field `share`"),
        ("{ chip = \"b\", share = \"1%\", cost = 1 }", "unknown field `cost`"),
    ] {
        let message = Server::rejection(&guests("", &format!("shadow = {shadow}\n"))).await;
        assert!(message.contains(words), "{shadow}: {message}");
    }
    let one = guests_config("tester", "").replace(
        "[pipelines.p.preprocess]",
        &format!("[pipelines.p]\n{}[pipelines.p.preprocess]", ALL.replace("\"b\"", "\"echo\"")),
    );
    let message = Server::rejection(&one).await;
    assert!(message.contains("pipelines.p.shadow.chip: the pipeline has one chip"), "{message}");
    for runs in [0, 101] {
        let message = Server::rejection(&guests(&format!("max_shadow_runs = {runs}"), ALL)).await;
        assert!(message.contains("server.max_shadow_runs: must be a number from 1 to 100"), "{message}");
    }
    // The shadow chip is admitted as every other chip.
    let broken = guests("", ALL).replace("config = { parameter = \"b\" }", "model = \"ghost\"");
    let message = Server::rejection(&broken).await;
    assert!(message.contains("pipelines.p.chips.b.model"), "{message}");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    std::fs::write(&file, format!("cache_dir = {:?}\n{}", shared_cache(), guests("", ALL))).expect("written");
    let output = run(&["check", "--config", file.to_str().expect("text")]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("  shadow: chip b, 100 % of the requests"), "{stdout}{}", text(&output.stderr));
}
