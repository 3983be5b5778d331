//! Where the protocol has an object and the configuration a table, a list of the members is not accepted.

use plimsoll_tests::{Server, guests_config};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_no_request() {
    let server = Server::start(&guests_config("tester", "")).await;
    let input = json!({ "name": "image", "shape": [1], "datatype": "BYTES", "data": ["x"] });
    let request = json!({ "inputs": [input] });
    assert_eq!(server.infer_json("p", &request).await.status, 200);
    let wanted = json!({ "name": "reply" });
    let infer: Vec<(&str, Value)> = vec![
        ("the request", json!(["id", {}, [input]])),
        ("the request", json!(["id", {}, [input], [wanted]])),
        ("an input", json!({ "inputs": [["image", [1], "BYTES", {}, ["x"]]] })),
        ("an output", json!({ "inputs": [input], "outputs": [["reply", {}]] })),
        ("parameters", json!({ "inputs": [input], "parameters": [["do", "ok"]] })),
        ("nothing", json!([])),
    ];
    for (what, body) in infer {
        let reply = server.infer_json("p", &body).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!("invalid_input")), "{what}: {}", reply.text);
        assert!(reply.text.contains("expected an object"), "{what}: {}", reply.text);
    }
    for path in ["/v2/repository/index", "/v2/repository/models/p/load", "/v2/repository/models/p/unload"] {
        for body in ["[]", "[true]", "[{}]"] {
            let reply = server.send("POST", path, &[], body.into()).await;
            assert_eq!(reply.status, 400, "{path} {body}: {}", reply.text);
            assert!(reply.text.contains("expected an object"), "{path} {body}: {}", reply.text);
        }
    }
    assert_eq!(server.infer_json("p", &request).await.status, 200, "nothing was unloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_no_table() {
    let guests = guests_config("tester", "");
    for (key, line) in [
        ("server", "server = []"),
        ("server", "server = [\"127.0.0.1:0\"]"),
        ("deploy", "deploy = []"),
        ("admin", "admin = []"),
        ("auth", "auth = []"),
        ("tls", "tls = [\"cert.pem\", \"key.pem\"]"),
        ("memory", "memory = []"),
        ("models", "models.m = [\"m.onnx\", \"rten\", \"cpu\"]"),
        ("pipelines", "pipelines.q = []"),
        ("record", "[pipelines.p]\nrecord = [\"8MiB\"]"),
        ("chips", "[pipelines.p]\nchips.other = [\"echo-infer\"]"),
        ("postprocess", "[pipelines.q]\npostprocess = [\"echo-postprocess\"]"),
        ("preprocess", "[pipelines.q]\npreprocess = [\"tester\"]"),
    ] {
        let toml = match line.starts_with('[') {
            true => format!("{guests}{line}\n"),
            false => format!("{line}\n{guests}"),
        };
        let error = Server::rejection(&toml).await;
        assert!(error.contains(key) && error.contains("expected a table"), "{line}: {error}");
    }
    let plugin =
        guests.replacen("[plugins.tester]\nfile = ", "[plugins]\ntester = [", 1).replacen(".wasm\"\n", ".wasm\"]\n", 1);
    let error = Server::rejection(&plugin).await;
    assert!(error.contains("tester = [") && error.contains("expected a table"), "{error}");
}
