//! The files of the page, their headers, and where they are served.

use plimsoll_tests::{Server, Site, guests_config};

/// Every file that the page and its modules name is there, and no file names another place.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_the_console_are_complete_and_load_nothing_from_elsewhere() {
    let site = Site::new("");
    let server = site.serve().await;
    let page = server.get("/").await;
    assert_eq!(
        (page.status, &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().expect("a value"))
    );
    let policy = page.headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.headers[name], value, "{name}");
    }
    let (mut open, mut seen) = (vec![page.text], std::collections::BTreeSet::new());
    while let Some(text) = open.pop() {
        for place in ["http://", "https://", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            // The name of a namespace is not a place.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(place), "{place} in {text}");
        }
        for name in text.split("/console/").skip(1).filter_map(|rest| rest.split(['"', '\'', ')']).next()) {
            if seen.insert(name.to_owned()) {
                let file = server.get(&format!("/console/{name}")).await;
                assert_eq!(file.status, 200, "{name}");
                assert_eq!(file.headers["x-content-type-options"], "nosniff");
                open.push(file.text);
            }
        }
    }
    let ui = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/ui");
    let files = std::fs::read_dir(ui)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let files: std::collections::BTreeSet<_> = files.filter(|name| name != "index.html").collect();
    assert_eq!(seen, files, "every file is used");
    for path in ["/console/none.js", "/console/..%2findex.html"] {
        assert!(server.get(path).await.status >= 400, "{path}");
    }
    // What people type, and what other pages add to an address.
    let reply = server.get("/?utm_source=x").await;
    assert_eq!((reply.status, &reply.headers["content-type"]), (200, &page.headers["content-type"]));
    for path in ["/console", "/console/"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.headers["location"].to_str().expect("text")), (308, "/"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_only_where_administration_is_and_can_be_switched_off() {
    let status =
        async |server: &Server, url: &str| server.client.get(url).send().await.expect("an answer").status().as_u16();
    let config = guests_config("tester", "");
    let off = Server::start(&format!("[server]\nconsole = false\n{config}")).await;
    assert_eq!((off.get("/").await.status, off.get("/console/app.js").await.status), (404, 404));
    assert!(!off.get("/openapi.json").await.text.contains("/console/"));
    let apart = Server::start(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{config}")).await;
    assert_eq!((apart.get("/").await.status, apart.get("/console/app.js").await.status), (404, 404));
    assert_eq!(apart.get("/v1/requests").await.status, 404);
    let page = format!("{}/", apart.admin_url);
    assert_eq!((status(&apart, &page).await, status(&apart, &format!("{page}console/app.js")).await), (200, 200));
}

/// A form of another site can send a request. What a plugin replies must not run as a page of this server.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_not_json_cannot_run_as_a_page_of_the_server() {
    let server = Server::start(&guests_config("tester", "")).await;
    let reply = server.infer("p", "?post=carry", "").await;
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    assert_eq!(reply.headers["content-security-policy"], "default-src 'none'; sandbox");
    assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    assert!(server.infer("p", "", "").await.headers.get("content-security-policy").is_none(), "JSON needs none");
}
