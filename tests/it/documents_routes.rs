//! `host/docs/http.md` has exactly the routes of the server, their parameters, and the codes of errors.

use std::collections::BTreeSet;

use crate::documents::{Page, codes};
use crate::oip_rest::demo;

/// The routes in the first cells of the tables, as `GET /path`, without their queries.
fn documented(page: &Page) -> BTreeSet<String> {
    let rows = page.rows();
    let cells = rows.iter().flat_map(|row| codes(&row[0])).filter(|code| code.contains(" /"));
    cells.map(|route| route.split(['?', '[']).next().expect("a route").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_of_the_documents_are_those_of_the_server() {
    let document = demo().await.get("/openapi.json").await.json();
    let page = Page::read("host/docs/http.md");
    let prose = page.prose();
    let words: BTreeSet<&str> = codes(&prose)
        .into_iter()
        .flat_map(|code| code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')))
        .collect();
    let mut served = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            // The page says once that most routes of a model have a form with a version.
            served.insert(format!("{} {}", method.to_uppercase(), path.replace("/versions/{version}", "")));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                assert!(parameter["in"] != "query" || words.contains(name), "{path}: the page does not name {name}");
            }
        }
    }
    let documented = documented(&page);
    // It is served, but does not describe itself.
    served.insert("GET /openapi.json".into());
    assert_eq!(documented.difference(&served).collect::<Vec<_>>(), [""; 0], "the server does not have these routes");
    assert_eq!(served.difference(&documented).collect::<Vec<_>>(), [""; 0], "the page does not have these routes");
    assert!(page.text.contains("/v2/models/{model}/versions/{version}"));
}

/// The codes are texts of `problem.rs`, which has one line for each.
#[test]
fn the_codes_of_errors_are_in_the_documents() {
    let source = include_str!("../../host/src/serve/problem.rs");
    let is_code = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let texts = source.split('"').skip(1).step_by(2).filter(is_code);
    let outcomes = plimsoll_runtime::outcome::Outcome::ALL.iter().map(|outcome| outcome.as_str());
    for page in ["host/docs/http.md", "host/docs/protocol.md"] {
        let page = Page::read(page);
        let prose = page.prose();
        let known = codes(&prose);
        for code in texts.clone().chain(outcomes.clone()) {
            // Changes of plugins have no gRPC, and some outcomes are no errors.
            let is_of_http = ["plugin_refused", "not_durable", "ok", "cancelled", "no_capacity"].contains(&code);
            assert!(known.contains(&code) || is_of_http && page.name.ends_with("protocol.md"), "{}: {code}", page.name);
        }
    }
}
