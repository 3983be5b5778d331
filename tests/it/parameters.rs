//! Query parameters: a typing error is refused, and the message names it and the parameter that was meant.

use plimsoll_tests::{Server, Site, guests_config, stamped, stamped_reply};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_repeated_parameters_change_nothing() {
    let site = Site::new("");
    let server = site.serve().await;
    assert_eq!(server.send("PUT", "/v1/plugins/stamp?version=1", &[], stamped(1)).await.status, 200);
    let wrong = "0".repeat(64);
    for (method, path, words) in [
        ("PUT", format!("/v1/plugins/stamp?sha265={wrong}"), vec!["`sha265`", "`sha256`"]),
        ("PUT", "/v1/plugins/stamp?verison=2".into(), vec!["`verison`", "`version`"]),
        ("PUT", "/v1/plugins/stamp?version=1&version=2".into(), vec!["`version`", "twice"]),
        ("PUT", "/v1/plugins/stamp?version=%zz".into(), vec!["%zz", "percent-encoding"]),
        ("POST", "/v1/plugins/stamp/rollback?too=0".into(), vec!["`too`", "`to`"]),
        ("POST", "/v1/plugins/stamp/rollback?to=0&to=1".into(), vec!["`to`", "twice"]),
        ("DELETE", "/v1/plugins/stamp?force=1".into(), vec!["`force`", "`expect`"]),
        ("GET", "/v1/plugins?name=stamp".into(), vec!["`name`"]),
        ("GET", "/v1/plugins/stamp?x".into(), vec!["`x`"]),
        ("GET", "/v1/pipelines?name=p".into(), vec!["`name`"]),
        ("GET", "/v1/memory?pipline=p".into(), vec!["`pipline`", "`pipeline`"]),
        ("GET", "/v1/memory?format=csv&format=json".into(), vec!["`format`", "twice"]),
        ("GET", "/v1/memory/compare?by=chip&bye=1".into(), vec!["`bye`", "`by`"]),
        ("GET", "/metrics?name=x".into(), vec!["`name`"]),
        ("GET", "/openapi.json?pretty=1".into(), vec!["`pretty`"]),
        ("POST", "/v1/pipelines/p/infer?chip=c&chip=d".into(), vec!["`chip`", "twice"]),
        ("POST", "/v1/pipelines/p/infer?Chip=c".into(), vec!["`Chip`", "`chip`"]),
        ("POST", "/v1/pipelines/p/infer?do=%".into(), vec!["percent-encoding"]),
    ] {
        let reply = server.send(method, &path, &[], stamped(2)).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_parameter"), "{path}: {}", reply.text);
        let detail = reply.json()["detail"].as_str().expect("text").to_owned();
        for word in words {
            assert!(detail.contains(word), "{word:?} is missing in: {detail}");
        }
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    // The parameters of stages pass, also those that the host does not know.
    assert_eq!(server.infer("p", "?chip=c&whatever=1&whatever=2", "").await.text, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_route_without_parameters_refuses_them() {
    let server = Server::start(&guests_config("tester", "")).await;
    let document = server.get("/openapi.json").await.json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        // Inference passes unknown parameters on. People come to the console by links, to which others add parameters.
        if path.ends_with("/infer") || ["/", "/console"].contains(&path.as_str()) {
            continue;
        }
        let named = path.replace("{name}", "tester").replace("{model}", "p").replace("{version}", "1");
        for method in methods.as_object().expect("methods").keys() {
            let reply = server.send(&method.to_uppercase(), &format!("{named}?no_such_parameter=1"), &[], vec![]).await;
            assert_eq!(reply.status, 400, "{method} {path}: {}", reply.text);
            assert!(reply.text.contains("`no_such_parameter`"), "{method} {path}: {}", reply.text);
            let media = if path.starts_with("/v2") { "application/json" } else { "application/problem+json" };
            assert_eq!(reply.headers["content-type"], media, "{method} {path}");
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried} routes");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_paths_are_answered_with_a_problem() {
    let server = Server::start(&guests_config("tester", "")).await;
    for (method, path) in [
        ("GET", "/v1/plugins/%FF"),
        ("PUT", "/v1/plugins/%FF"),
        ("DELETE", "/v1/plugins/%C3%28"),
        ("POST", "/v1/plugins/%FF/rollback"),
        ("POST", "/v1/pipelines/%FF/infer"),
        ("GET", "/v1/plugins/%zz"),
        ("GET", "/%"),
    ] {
        let reply = server.send(method, path, &[], Vec::new()).await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.status);
        assert_ne!(reply.code(), "ok", "{path}: a problem document");
    }
}
