//! Pipelines of steps: what each step gets, and how the steps are reported.

use plimsoll_tests::{Server, TempDir, another_version, guest};
use serde_json::json;

use crate::steps_pipelines::{GATHER, IN, body, config, item, plugins, rows, sample, server};

const SPLIT: &str =
    r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
const NOOP: &str = r#"{ name = "model", kind = "infer", plugin = "noop-infer" }"#;

fn header(reply: &plimsoll_tests::Reply, name: &str) -> String {
    reply.headers.get(name).map_or_else(String::new, |value| value.to_str().expect("text").to_owned())
}

/// The names in a header such as `in=65536, model=65536`.
fn names(header: &str) -> Vec<&str> {
    header.split(", ").map(|part| part.split(['=', ';']).next().expect("a name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_steps_answers_and_is_reported_by_the_names_of_its_steps() {
    let server = server(&[
        IN,
        r#"{ name = "rename", kind = "transform", plugin = "transformer", config = { rename = "y" } }"#,
        NOOP,
        r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#,
    ])
    .await;
    let reply = server.infer("p", "", body(&[("x", &[1, 2], &[1.0, 2.0])])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json(), json!({ "tensors": [{ "name": "y", "shape": [1, 2], "bytes": 8 }], "context_bytes": 1 }));
    let steps = ["in", "rename", "model", "out"];
    for name in ["x-plimsoll-memory", "x-plimsoll-plugins", "server-timing"] {
        assert_eq!(names(&header(&reply, name)), steps, "{name}");
    }
    assert_eq!(header(&reply, "x-plimsoll-chip"), "default");
    for step in steps {
        let row = server.memory_row(step, "ok").await.unwrap_or_else(|| panic!("no row of {step}"));
        assert_eq!((&row["pipeline"], &row["count"]), (&json!("p"), &json!(1)), "{row}");
    }
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("stage=\"rename\",plugin=\"transformer\""), "{metrics}");
    let failed = server.infer("p", "?transform=panic", rows(1)).await;
    assert_eq!((failed.status, failed.code().as_str()), (500, "trap"));
    assert_eq!(failed.json()["stage"], "rename");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_for_each_item_and_the_items_are_gathered_in_order() {
    let server = server(&[IN, SPLIT, NOOP, GATHER]).await;
    for count in [0, 1, 20] {
        let reply = server.infer("p", "", rows(count)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let items: Vec<_> = (0..count).map(item).collect();
        assert_eq!(reply.json(), json!({ "context": "7", "items": items, "others": {} }), "{count}");
        let expected: &[&str] = if count == 0 { &["in", "split", "out"] } else { &["in", "split", "model", "out"] };
        assert_eq!(names(&header(&reply, "x-plimsoll-memory")), expected, "one mark for each step");
    }
    // Each item had an instance of its own.
    let row = server.memory_row("model", "ok").await.expect("a row");
    assert_eq!(row["count"], 21, "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_gets_the_tensors_of_steps_that_run_once_too() {
    let mix = r#"{ name = "mix", kind = "transform", plugin = "transformer", from = ["split.x", "in.other"] }"#;
    let out = r#"{ name = "out", kind = "postprocess", plugin = "gather-postprocess", gather = true, from = ["in.other", "mix"] }"#;
    let server = server(&[IN, SPLIT, mix, out]).await;
    let reply = server.infer("p", "", body(&[("x", &[2, 1], &[1.0, 2.0]), ("other", &[1], &[9.0])])).await;
    let other = json!({ "shape": [1], "data": [9.0] });
    let tensors = |x: f32| json!({ "x": { "shape": [1, 1], "data": [x] }, "other": other });
    let items = [
        json!({ "context": "item 0 of 7", "tensors": tensors(1.0) }),
        json!({ "context": "item 1 of 7", "tensors": tensors(2.0) }),
    ];
    assert_eq!(reply.json(), json!({ "context": "7", "items": items, "others": { "other": other } }), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_gathers_in_the_middle_and_items_are_made_again() {
    let sums =
        r#"{ name = "sums", kind = "transform", plugin = "transformer", gather = true, config = { gather = true } }"#;
    let again = SPLIT.replace("\"split\"", "\"again\"");
    let server = server(&[IN, SPLIT, NOOP, sums, &again, GATHER]).await;
    let reply = server.infer("p", "", rows(3)).await.json();
    let sums = reply["items"].as_array().expect("items").iter().map(|item| item["tensors"]["sums"]["data"][0].clone());
    assert_eq!(sums.collect::<Vec<_>>(), [0.5, 2.5, 4.5], "{reply}");
    assert_eq!((&reply["context"], &reply["items"][2]["context"]), (&json!("7"), &json!("item 2 of 7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_of_two_steps_with_the_same_name_are_an_error_that_names_both() {
    let first = r#"{ name = "a", kind = "infer", plugin = "noop-infer", from = ["in"] }"#;
    let second = r#"{ name = "b", kind = "infer", plugin = "noop-infer", from = ["in"] }"#;
    let out =
        |from: &str| format!(r#"{{ name = "out", kind = "postprocess", plugin = "echo-postprocess", from = {from} }}"#);
    let both = server(&[IN, first, second, &out(r#"["a", "b"]"#)]).await;
    let reply = both.infer("p", "", rows(1)).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"));
    let detail = reply.json()["detail"].as_str().expect("text").to_owned();
    assert!(detail.contains("`a` and `b` both hand on a tensor `x`"), "{detail}");
    let renamed = server(&[IN, first, second, &out(r#"["a", "b.x as left"]"#)]).await;
    let reply = renamed.infer("p", "", rows(1)).await.json();
    let names: Vec<_> = reply["tensors"].as_array().expect("tensors").iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["x", "left"], "{reply}");
    let selected = server(&[IN, first, second, &out(r#"["a.x", "b.y"]"#)]).await;
    let reply = selected.infer("p", "", rows(1)).await.json();
    assert!(reply["detail"].as_str().expect("text").contains("step `b` hands on no tensor `y`; it has x"), "{reply}");
}

/// A tensor of a step that runs once must not become one of an item, whatever number a reader may see in its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_of_a_step_that_runs_once_cannot_pass_for_one_of_an_item() {
    for name in ["0/y", "+1/y", "002/y"] {
        let once = format!(
            r#"{{ name = "once", kind = "transform", plugin = "transformer", from = ["in"], config = {{ rename = "{name}" }} }}"#
        );
        let split = SPLIT.replace("plugin", "from = [\"in\"], plugin");
        let out = GATHER.replace("plugin", "from = [\"once\", \"split\"], plugin");
        let server = server(&[IN, &once, &split, &out]).await;
        let reply = server.infer("p", "", rows(3)).await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"), "{}", reply.text);
        assert!(reply.text.contains(&format!("`once` runs once and hands on a tensor `{name}`")), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_reads_a_part_of_a_tensor() {
    let pass = r#"{ name = "part", kind = "transform", plugin = "transformer" }"#;
    let server = server(&[IN, pass, r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#]).await;
    let values: Vec<f32> = (0..24_u8).map(f32::from).collect();
    let read = async |start: &str, size: &str| {
        let query = format!("?transform=region&start={start}&size={size}&post=data");
        server.infer("p", &query, body(&[("x", &[2, 3, 4], &values)])).await
    };
    assert_eq!(read("1,0,2", "1,3,2").await.json()["data"], json!([[14.0, 15.0, 18.0, 19.0, 22.0, 23.0]]));
    assert_eq!(read("0,0,0", "2,3,4").await.json()["data"], json!([values]));
    let outside = read("0,0,3", "2,3,2").await;
    assert_eq!(outside.status, 422, "{}", outside.text);
    assert!(outside.text.contains("dimension 2 has 4 elements; 2 from 3 on do not fit"), "{}", outside.text);
}

/// The sample of a deployment runs through all steps, so what does not fit is refused before the port opens.
#[tokio::test(flavor = "multi_thread")]
async fn the_sample_runs_through_the_graph() {
    let folder = TempDir::new().expect("a folder");
    let digits = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "m" }"#;
    let steps = |model| [IN, SPLIT, model, GATHER];
    let with_sample = |bytes: &[u8]| {
        let text = config(&sample(folder.path(), bytes), &steps(digits));
        format!("[models.m]\nfile = \"bundled:digits.onnx\"\n{text}")
    };
    let message = Server::rejection(&with_sample(&rows(2))).await;
    for word in ["pipelines.p", "stage model (plugin infer-native) ended in tensor_mismatch", "`x`"] {
        assert!(message.contains(word), "{word} is missing in {message}");
    }
    let server = Server::start(&with_sample(&body(&[("image", &[2, 1, 8, 8], &[0.5; 128])]))).await;
    let reply = server.infer("p", "", body(&[("image", &[3, 1, 8, 8], &[0.5; 192])])).await;
    assert_eq!(reply.json()["items"].as_array().expect("items").len(), 3, "{}", reply.text);
    // The model of the step is a model of the Open Inference Protocol.
    let models = server.send("POST", "/v2/repository/index", &[], Vec::new()).await.text;
    assert!(models.contains("\"p.model\"") && !models.contains("p.infer"), "{models}");
    let metadata = server.get("/v2/models/p.model").await.json();
    assert_eq!((&metadata["platform"], &metadata["inputs"][0]["name"]), (&json!("plimsoll_infer"), &json!("image")));
    let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![0.5; 64] });
    let reply = server.infer_json("p.model", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(server.get("/v2/models/p.split").await.status, 404, "a transformation is no model");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_have_chips() {
    let chips = r#"chips = { a = { plugin = "echo-infer", config = { parameter = "a" } }, b = { plugin = "echo-infer", config = { parameter = "b" } } }"#;
    let step = |name: &str| format!(r#"{{ name = "{name}", kind = "infer", {chips} }}"#);
    let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;
    let steps = [IN, &step("first"), NOOP, &step("second"), out];
    let server = Server::start(&config("default_chip = \"a\"", &steps)).await;
    let outcome = async |query: &str| {
        let reply = server.infer("p", query, rows(1)).await;
        (reply.code(), header(&reply, "x-plimsoll-chip"))
    };
    assert_eq!(outcome("?b=panic").await, ("ok".into(), "a".into()));
    assert_eq!(outcome("?b=panic&chip=b").await, ("trap".into(), "b".into()));
    assert_eq!(outcome("?chip=c").await.0, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_of_a_step_is_deployed_rolled_back_and_put_on_canary() {
    let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;
    let steps = [IN, r#"{ name = "step", kind = "transform", plugin = "transformer" }"#, out];
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(&config(&sample(folder.path(), &rows(1)), &steps)).await;
    let bytes = std::fs::read(guest("transformer")).expect("built");
    let put = async |server: &Server, bytes: Vec<u8>| server.send("PUT", "/v1/plugins/transformer", &[], bytes).await;
    let digest = async |server: &Server| {
        let reply = server.infer("p", "", rows(1)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let plugins = header(&reply, "x-plimsoll-plugins");
        plugins.split(", ").nth(1).expect("the step").to_owned()
    };
    let before = digest(&server).await;
    let wrong = put(&server, std::fs::read(guest("noop-infer")).expect("built")).await;
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    assert!(wrong.text.contains("not a plugin of kind `transform`"), "{}", wrong.text);
    assert_eq!(digest(&server).await, before);
    assert_eq!(put(&server, another_version(&bytes, 1)).await.json()["state"], "serving");
    assert_ne!(digest(&server).await, before);
    let view = server.get("/v1/plugins/transformer").await.json();
    assert_eq!((&view["stages"][0]["stage"], &view["stages"][0]["pipeline"]), (&json!("step"), &json!("p")), "{view}");
    let back = server.send("POST", "/v1/plugins/transformer/rollback", &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(digest(&server).await, before);

    let canary = Server::start(&config("canary = { share = \"50%\", requests = 20 }", &steps)).await;
    let before = digest(&canary).await;
    assert_eq!(put(&canary, another_version(&bytes, 2)).await.json()["state"], "canary");
    for _ in 0..80 {
        digest(&canary).await;
    }
    canary.wait_for_state("transformer", "previous").await;
    assert_ne!(digest(&canary).await, before, "the canary was promoted");
}

/// Components that were built before pipelines had steps still serve, also as steps.
#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_were_built_before_steps_serve() {
    let folder = TempDir::new().expect("a folder");
    let old = |name: &str| {
        let packed = std::fs::read(plimsoll_tests::data(&format!("contract/{name}.wasm.gz"))).expect("committed");
        let path = folder.path().join(format!("{name}.wasm"));
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut bytes).expect("gzip");
        std::fs::write(&path, bytes).expect("written");
        format!("[plugins.old-{name}]\nfile = {path:?}\n")
    };
    let text = format!(
        "{}{}[models.m]\nfile = \"bundled:digits.onnx\"\n{}[pipelines.three]\nmodel = \"m\"\n\
         [pipelines.three.preprocess]\nplugin = \"given-tensors\"\n[pipelines.three.chips.c]\nplugin = \"old-infer-native\"\n\
         [pipelines.three.postprocess]\nplugin = \"old-noop-postprocess\"\n[pipelines.steps]\nmodel = \"m\"\nsteps = [{IN},\n\
         {{ name = \"model\", kind = \"infer\", plugin = \"old-infer-native\" }},\n\
         {{ name = \"out\", kind = \"postprocess\", plugin = \"old-noop-postprocess\" }}]\n",
        old("infer-native"),
        old("noop-postprocess"),
        plugins(),
    );
    let server = Server::start(&text).await;
    let image = body(&[("image", &[1, 1, 8, 8], &[0.5; 64])]);
    for pipeline in ["three", "steps"] {
        let reply = server.infer(pipeline, "", image.clone()).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "ok"), "{pipeline}");
    }
}
