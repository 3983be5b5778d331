//! A version that was rolled back or replaced does not return because its file gets another name, is copied, or is found
//! by another path.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};

use crate::wrapped::{Wrapped, site, until};

/// Starts the server of a site with the configuration at another path.
fn start_at(config: &Path, site: &Site) -> Wrapped {
    // The arguments that `Wrapped` adds are those of `sh`. Only the binary is taken from them.
    let script = format!("exec \"$1\" --log json serve --listen 127.0.0.1:0 --config '{}'", config.display());
    Wrapped::start(&["sh", "-c", &script, "sh"], site)
}

/// The versions of a plugin: state and version.
async fn versions(served: &Wrapped, plugin: &str) -> Vec<(String, String)> {
    let (_, plugin) = served.json("GET", &format!("/v1/plugins/{plugin}"), Vec::new()).await;
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let versions = plugin["versions"].as_array().into_iter().flatten();
    versions.map(|version| (text(&version["state"]), text(&version["version"]))).collect()
}

/// A copy of a site's folder, with the data folder.
fn copy(site: &Site) -> (plimsoll_tests::TempDir, PathBuf) {
    let copy = plimsoll_tests::TempDir::new().expect("a folder");
    let status = Command::new("cp").arg("-r").arg(site.folder.path()).arg(copy.path().join("copy")).status();
    assert!(status.expect("cp starts").success());
    let config = copy.path().join("copy/plimsoll.toml");
    (copy, config)
}

/// Other paths to the site: through a link, and in a copy. The folder of the copy is removed when the value is dropped.
fn other_paths(site: &Site) -> (Vec<PathBuf>, [plimsoll_tests::TempDir; 2]) {
    let links = plimsoll_tests::TempDir::new().expect("a folder");
    symlink(site.folder.path(), links.path().join("link")).expect("linked");
    let (copy, copied) = copy(site);
    (vec![links.path().join("link/plimsoll.toml"), copied], [links, copy])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_does_not_return_under_another_name() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    site.drop_in("stamp.wasm", &stamped(1));
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    let renames: [(&str, &dyn Fn()); 5] = [
        ("moved", &|| fs::rename(site.plugin("stamp.wasm"), site.plugin("stamp@7.wasm")).expect("moved")),
        ("copied", &|| {
            fs::copy(site.plugin("stamp@7.wasm"), site.plugin("stamp@8.wasm")).expect("copied");
        }),
        ("written again", &|| site.drop_in("stamp@9.wasm", &stamped(1))),
        ("linked", &|| symlink("stamp@9.wasm", site.plugin("stamp@10.wasm")).expect("linked")),
        ("written to a known name", &|| {
            site.drop_in("stamp.wasm", &stamped(0));
            site.drop_in("stamp.wasm", &stamped(1));
        }),
    ];
    for (round, (what, rename)) in renames.iter().enumerate() {
        rename();
        served.wait_for_scan(&site, &format!("scan-{round}")).await;
        assert_eq!(served.reply().await, stamped_reply(0), "{what}");
        assert_eq!(served.states("stamp").await, ["serving", "previous"], "{what}");
    }
    until("the log", async || served.log().contains("`plimsoll plugin deploy` deploys it")).await;
    // All files are moved away for a while, and get other names.
    for name in ["stamp.wasm", "stamp@7.wasm", "stamp@8.wasm", "stamp@10.wasm"] {
        fs::remove_file(site.plugin(name)).expect("removed");
    }
    fs::rename(site.plugin("stamp@9.wasm"), site.plugin("away")).expect("renamed");
    served.wait_for_scan(&site, "scan-away").await;
    fs::rename(site.plugin("away"), site.plugin("stamp@11.wasm")).expect("renamed");
    served.wait_for_scan(&site, "scan-back").await;
    assert_eq!(served.reply().await, stamped_reply(0));
    drop(served);

    let served = Wrapped::start(&["env"], &site);
    served.wait_for_scan(&site, "restarted").await;
    assert_eq!(served.reply().await, stamped_reply(0));
    drop(served);
    let (paths, _folders) = other_paths(&site);
    for config in paths {
        let served = start_at(&config, &site);
        // A plugin that no pipeline uses is not retired, because its file has another path.
        let plugins = config.with_file_name("plugins");
        fs::write(plugins.join("late.wasm"), stamped(98)).expect("written");
        for plugin in ["late", "restarted"] {
            until(plugin, async || served.states(plugin).await == ["unused"]).await;
        }
        assert_eq!(served.reply().await, stamped_reply(0), "{config:?}");
        let (_, shown) = served.json("GET", "/v1/plugins/stamp", Vec::new()).await;
        fs::remove_file(plugins.join("late.wasm")).expect("removed");
        until("the removal", async || served.states("late").await.is_empty()).await;
        assert_eq!(served.reply().await, stamped_reply(0), "{shown}");
    }

    // An explicit deployment brings it back.
    let served = Wrapped::start(&["env"], &site);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["state"]), (200, &"serving".into()), "{reply}");
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_was_rolled_back_does_not_return_after_a_restart() {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    let canary = "[pipelines.p]\ncanary = { share = \"50%\", requests = 1000 }\n";
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", canary)).expect("written");
    let served = Wrapped::start(&["env"], &site);
    site.drop_in("stamp@2.wasm", &stamped(2));
    until("the canary", async || served.states("stamp").await == ["canary", "serving"]).await;
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    // After the restart the figures of the canary are lost. Its file is moved away for a while.
    let served = Wrapped::start(&["env"], &site);
    fs::rename(site.plugin("stamp@2.wasm"), site.plugin("away")).expect("renamed");
    served.wait_for_scan(&site, "scan-away").await;
    fs::rename(site.plugin("away"), site.plugin("stamp@3.wasm")).expect("renamed");
    served.wait_for_scan(&site, "scan-back").await;
    assert_eq!(served.states("stamp").await, ["serving"]);
    assert_eq!(served.reply().await, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_replaced_over_http_does_not_return_with_its_file() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=2", stamped(2)).await;
    assert_eq!((status, &reply["state"]), (200, &"serving".into()), "{reply}");
    fs::rename(site.plugin("stamp.wasm"), site.plugin("stamp@9.wasm")).expect("renamed");
    served.wait_for_scan(&site, "scan").await;
    assert_eq!(served.reply().await, stamped_reply(2));
    drop(served);
    let (paths, _folders) = other_paths(&site);
    for config in paths {
        let served = start_at(&config, &site);
        assert_eq!(served.reply().await, stamped_reply(2), "{config:?}");
    }
    // Other bytes are a new release.
    let served = Wrapped::start(&["env"], &site);
    site.drop_in("stamp@10.wasm", &stamped(10));
    until("mark 10", async || served.reply().await == stamped_reply(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_serves_keeps_serving_when_its_file_is_renamed() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let unused = |version: &str| vec![("unused".to_owned(), version.to_owned())];
    site.drop_in("other@1.0.wasm", &stamped(5));
    until("the other plugin", async || versions(&served, "other").await == unused("1.0")).await;
    fs::rename(site.plugin("other@1.0.wasm"), site.plugin("other@1.1.wasm")).expect("renamed");
    until("the new name", async || versions(&served, "other").await == unused("1.1")).await;
    // A copy with an older name changes nothing, even if it is the only file left.
    fs::copy(site.plugin("other@1.1.wasm"), site.plugin("other@0.9.wasm")).expect("copied");
    served.wait_for_scan(&site, "copied").await;
    assert_eq!(versions(&served, "other").await, unused("1.1"));
    fs::remove_file(site.plugin("other@1.1.wasm")).expect("removed");
    served.wait_for_scan(&site, "removed").await;
    assert_eq!(versions(&served, "other").await, unused("1.1"));
    // A look at the folder that began before the removal may still have listed the file.
    let shown = async || served.json("GET", "/v1/plugins/other", Vec::new()).await.1;
    until("the source of the copy", async || {
        shown().await["source"].as_str().is_some_and(|source| source.ends_with("other@0.9.wasm"))
    })
    .await;
    assert!(shown().await["note"].is_null());
    fs::remove_file(site.plugin("other@0.9.wasm")).expect("removed");
    until("the removal", async || served.states("other").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_come_and_go_are_forgotten() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let handled = || {
        let state = journal_state(&fs::read(site.folder.path().join(".plimsoll/plugins.json")).expect("a journal"));
        state["plugins"]["stamp"]["seen"].as_object().expect("a table").len()
    };
    let mut name = "stamp.wasm".to_owned();
    for version in 0..30 {
        let next = format!("stamp@{version}.wasm");
        fs::rename(site.plugin(&name), site.plugin(&next)).expect("renamed");
        name = next;
        let wanted = vec![("serving".to_owned(), version.to_string())];
        until("the new name", async || versions(&served, "stamp").await == wanted).await;
    }
    until("the names are forgotten", async || handled() == 1).await;
}
