//! Compares the OpenAPI document with the server.

use serde_json::{Value, json};

use crate::oip_rest::demo;
use crate::steps_pipelines::{GATHER, IN, config};

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

#[tokio::test(flavor = "multi_thread")]
async fn oip_the_server_has_exactly_the_routes_and_methods_of_the_document() {
    let server = demo().await;
    let reply = server.get("/openapi.json").await;
    let document = reply.json();
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 22, "{}", paths.len());
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in paths {
        // The names do not exist, so that the requests change nothing.
        let concrete = path.replace("{model}", "ghost").replace("{version}", "1").replace("{name}", "ghost");
        let concrete = concrete.replace("{pipeline}", "ghost").replace("{id}", "ghost").replace("{file}", "ghost");
        assert!(!concrete.contains('{'), "{path}");
        let named: Vec<&str> = path.split('{').skip(1).map(|rest| rest.split('}').next().expect("closed")).collect();
        for method in METHODS {
            let reply = server.send(&method.to_uppercase(), &concrete, &[], Vec::new()).await;
            let Some(operation) = item.get(method) else {
                assert_eq!(reply.status, 405, "{method} {path} is served but not in the document");
                continue;
            };
            assert_ne!(reply.status, 405, "{method} {path} is in the document but not served");
            assert!(!reply.text.contains("there is no such route"), "{method} {path}: {}", reply.text);
            let answers = operation["responses"].as_object().expect("responses");
            let (exact, class) = (reply.status.to_string(), format!("{}XX", reply.status / 100));
            assert!(answers.contains_key(&exact) || answers.contains_key(&class), "{method} {path}: {exact}");
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{method} {path}: another operation has the same id"
            );
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let of_path: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == "path").collect();
            assert_eq!(of_path.len(), named.len(), "{method} {path}");
            assert!(of_path.iter().all(|parameter| named.contains(&parameter["name"].as_str().expect("a name"))));
        }
    }
    // Every reference has a target.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
                Some(target) if name == "$ref" => found.push(target),
                _ => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for target in found {
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target} is not in the document");
    }
    server.stop().await;
}

/// A pipeline of steps and one of three stages, with and without a shadow: all members are described, and no other ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_pipelines_is_as_the_document_describes_it() {
    let split = r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, partial = true, config = { split = true } }"#;
    let model = r#"{ name = "model", kind = "infer", chips = { a = { plugin = "noop-infer" }, b = { plugin = "noop-infer" } }, shadow = { chip = "b", share = "1%" } }"#;
    let steps = config("default_chip = \"a\"", &[IN, split, model, GATHER]);
    let three = "[pipelines.t]\nshadow = { chip = \"b\", share = \"1%\" }\ndefault_chip = \"a\"\n\
                 [pipelines.t.preprocess]\nplugin = \"given-tensors\"\n[pipelines.t.chips]\na = { plugin = \"noop-infer\" }\n\
                 b = { plugin = \"noop-infer\" }\n[pipelines.t.postprocess]\nplugin = \"echo-postprocess\"\n";
    let server = plimsoll_tests::Server::start(&(steps + three)).await;
    let document = server.get("/openapi.json").await.json();
    let listed = server.get("/v1/pipelines").await.json();
    let answer = "/paths/~1v1~1pipelines/get/responses/200/content/application~1json/schema";
    describes(&document, document.pointer(answer).expect("a schema"), &listed, "");
    let pipeline = &listed["pipelines"][0];
    assert_eq!((&pipeline["chip_names"], &pipeline["chips"]), (&json!(["a", "b"]), &json!({})), "{pipeline}");
    assert_eq!((&pipeline["preprocess"]["name"], &pipeline["postprocess"]["name"]), (&json!("in"), &json!("out")));
    assert_eq!(pipeline["steps"][1]["stages"]["b"]["name"], "model", "{pipeline}");
    let shadow = json!({ "chip": "b", "share": 0.01 });
    assert_eq!((&pipeline["steps"][1]["shadow"], &pipeline["shadow"]), (&shadow, &json!(null)), "{pipeline}");
    let pipeline = &listed["pipelines"][1];
    assert_eq!((&pipeline["chip_names"], &pipeline["steps"]), (&json!(["a", "b"]), &Value::Null), "{pipeline}");
    assert_eq!(pipeline["chips"]["b"]["name"], "infer", "{pipeline}");
    server.stop().await;
}

/// Checks that a schema has exactly the members of a value, with their types.
fn describes(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = document.pointer(target.trim_start_matches('#')).expect("a target");
        return describes(document, target, value, place);
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        let wanted = variants.iter().find(|variant| (variant["type"] == "null") == value.is_null());
        return describes(document, wanted.unwrap_or_else(|| panic!("{place}: {schema}")), value, place);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    assert!(types.contains(&kind) || kind == "integer" && types.contains(&"number"), "{place}: {value}, not {schema}");
    for item in value.as_array().into_iter().flatten() {
        describes(document, &schema["items"], item, &format!("{place}[]"));
    }
    let Some(members) = value.as_object() else { return };
    for (name, member) in members {
        let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        let known = known.unwrap_or_else(|| panic!("{place}: the document does not describe `{name}`"));
        describes(document, known, member, &format!("{place}.{name}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(name.as_str().expect("text")), "{place}: {name} is missing");
    }
}
