//! The order of versions in the plugin folder, and which texts are versions.

use plimsoll_tests::{Server, Site, another_version, guest, guests_config, stamped, stamped_reply};

/// A site without the file `stamp.wasm`, with one file for each version; the mark of a file is its place in the list.
fn site_with(versions: &[&str]) -> Site {
    let site = Site::new("");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("there");
    for (mark, version) in versions.iter().enumerate() {
        site.drop_in(&format!("stamp@{version}.wasm"), &stamped(u32::try_from(mark).expect("few")));
    }
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_version_serves() {
    for versions in [
        ["1.9", "1.10"],
        ["1.0.0", "2.0"],
        ["v1.9.0", "v1.10.0"],
        ["1.0.0-rc.1", "1.0.0"],
        ["v2", "3.0.0-alpha"],
        ["2026.9.30", "2026.11.27"],
        ["1.0.0+build.9", "1.0.0+build.10"],
    ] {
        let [older, newer] = versions;
        // In both orders, so that neither the names nor the times of the files decide.
        for (files, mark) in [([older, newer], 1), ([newer, older], 0)] {
            let site = site_with(&files);
            let server = site.serve().await;
            assert_eq!(server.infer("p", "", "").await.text, stamped_reply(mark), "{files:?}");
            let shown = server.get("/v1/plugins/stamp").await.json();
            assert_eq!(shown["version"], newer, "{shown}");
            server.stop().await;
            let server = site.serve().await;
            assert_eq!(server.infer("p", "", "").await.text, stamped_reply(mark), "after a restart: {files:?}");
            server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_without_an_order_are_refused_and_the_message_says_how_to_fix_it() {
    for versions in [["blue", "green"], ["latest", "1.0"], ["1.0", "v1.0.0"]] {
        let site = site_with(&versions);
        let text = std::fs::read_to_string(&site.config).expect("text");
        let text = format!("plugin_dir = {:?}\n{text}", site.folder.path().join("plugins"));
        let message = Server::rejection(&text).await;
        for word in [versions[0], versions[1], "newest", "keep only one", "plugin"] {
            assert!(message.contains(word), "{word:?} is missing in {message}");
        }
    }
    // The only file serves, whatever its version is.
    let site = site_with(&["blue"]);
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));

    // Two new files at once change nothing, until one of them is removed.
    for (mark, version) in [(1, "green"), (2, "red")] {
        std::fs::write(site.folder.path().join(version), stamped(mark)).expect("written");
    }
    for version in ["green", "red"] {
        let file = site.plugin(&format!("stamp@{version}.wasm"));
        std::fs::rename(site.folder.path().join(version), file).expect("renamed");
    }
    let refused = server.wait_for_state("stamp", "refused").await;
    assert!(refused["reason"].as_str().expect("text").contains("keep only one"), "{refused}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    std::fs::remove_file(site.plugin("stamp@red.wasm")).expect("there");
    server.wait_for_reply(&stamped_reply(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_not_a_version_is_refused() {
    let site = Site::new("");
    let server = site.serve().await;
    let long = "1".repeat(65);
    for version in ["1.0%0Aforged", "%1b%5B31m", "a%20b", "1%2C2", "%E2%80%AE1", "", &long] {
        let put = server.send("PUT", &format!("/v1/plugins/stamp?version={version}"), &[], stamped(1)).await;
        assert_eq!((put.status, put.code().as_str()), (422, "plugin_refused"), "{version}: {}", put.text);
        assert!(put.text.contains("is not a valid version"), "{}", put.text);
        assert!(!put.text.contains(['\u{1b}', '\u{202e}']), "{}", put.text);
    }
    let long = "1".repeat(64);
    for version in ["1.0.0-rc.1%2Bbuild_7", &long] {
        let put = server.send("PUT", &format!("/v1/plugins/stamp?version={version}"), &[], stamped(1)).await;
        assert_eq!(put.status, 200, "{}", put.text);
    }
    site.drop_in("stamp@not a version.wasm", &stamped(2));
    let refused = server.wait_for_state("stamp", "refused").await;
    assert!(refused["reason"].as_str().expect("text").contains("is not a valid version"), "{refused}");
    assert_eq!(refused["version"], "unversioned", "{refused}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
}

/// A custom section with a version, as `wasm-tools metadata add` writes it.
pub(crate) fn with_section(component: &[u8], name: &str, text: &str) -> Vec<u8> {
    let leb = |mut value: usize| {
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(value & 0x7f).expect("seven bits");
            value >>= 7;
            if value == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    };
    let content = [&leb(name.len()), name.as_bytes(), text.as_bytes()].concat();
    [component, &[0], &leb(content.len()), &content].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_in_a_component_is_checked() {
    let server = Server::start(&guests_config("noop-preprocess", "")).await;
    let component = another_version(&std::fs::read(guest("noop-preprocess")).expect("built"), 1);
    let good = with_section(&component, "version", "3.1.4");
    let put = server.send("PUT", "/v1/plugins/noop-preprocess", &[], good).await;
    assert_eq!((put.status, &put.json()["version"]), (200, &"3.1.4".into()), "{}", put.text);
    for version in ["1.0\n2026-11-27 INFO forged", "\u{1b}]0;title\u{7}", "a, b=c@d", &"9".repeat(5_000)] {
        let bad = with_section(&component, "version", version);
        let put = server.send("PUT", "/v1/plugins/noop-preprocess", &[], bad).await;
        assert_eq!((put.status, put.code().as_str()), (422, "plugin_refused"), "{}", put.text);
        assert!(put.text.contains("is not a valid version") && put.text.len() < 1_000, "{}", put.text);
    }
    let reply = server.infer("p", "", "").await;
    let plugins = reply.headers["x-plimsoll-plugins"].to_str().expect("text");
    assert!(plugins.contains("preprocess=noop-preprocess@3.1.4+"), "{plugins}");
}
