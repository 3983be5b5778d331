//! Compares the OpenAPI document with the server.

use serde_json::Value;

use crate::oip_rest::demo;

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
