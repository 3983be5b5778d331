//! Many files that come into the plugin folder at once are prepared together, and each is deployed or rejected as if it had
//! come alone.

use std::fs;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, stamped, stamped_reply};

use crate::wrapped::{Wrapped, site, until};

/// Moves files into the plugin folder, so that each is complete when it is seen.
fn drop_all(site: &Site, files: &[(&str, Vec<u8>)]) {
    let drafts = site.folder.path().join("drafts");
    fs::create_dir(&drafts).expect("made");
    files.iter().for_each(|(name, bytes)| fs::write(drafts.join(name), bytes).expect("written"));
    files.iter().for_each(|(name, _)| fs::rename(drafts.join(name), site.plugin(name)).expect("renamed"));
}

async fn check(served: &Wrapped) {
    for name in ["a", "b", "c", "d", "same"] {
        assert_eq!(served.states(name).await, ["unused"], "{name}: {}", served.log());
    }
    assert_eq!(served.reply().await, stamped_reply(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_files_has_the_verdict_that_it_has_alone() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let unchanged = stamped(0);
    let files = [
        ("a.wasm", stamped(1)),
        ("b.wasm", stamped(2)),
        ("c.wasm", stamped(3)),
        ("d.wasm", stamped(4)),
        ("empty.wasm", b"\0asm\x0d\0\x01\0".to_vec()),
        // The bytes of another plugin.
        ("same.wasm", stamped(1)),
        ("stamp@1.4.wasm", unchanged),
        ("stamp@1.5.wasm", stamped(5)),
        ("text.wasm", b"no component".to_vec()),
    ];
    drop_all(&site, &files);
    until("the new version", async || served.reply().await == stamped_reply(5)).await;
    for name in ["empty", "text"] {
        until(name, async || served.states(name).await == ["refused"]).await;
    }
    until("the last unused plugin", async || served.states("same").await == ["unused"]).await;
    check(&served).await;
    assert_eq!(served.metric("plimsoll_panics_total").await, 0, "{}", served.log());
    assert_eq!(served.metric("plimsoll_deployments_not_durable").await, 0);
    let data = site.folder.path().join(".plimsoll");
    for mark in 1..=5 {
        assert!(data.join(format!("components/{}.wasm", digest(&stamped(mark)))).is_file(), "mark {mark}");
    }
    let names = fs::read_dir(&data).expect("a folder").map(|entry| entry.expect("an entry").path());
    assert!(names.into_iter().all(|path| path.extension().is_none_or(|it| it != "draft")), "a copy that was not used");
    // They are known after a kill, too.
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    check(&served).await;
}
