//! What a restart keeps: the canaries that it interrupts, the folders of users, and no version that was rolled back.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};

use crate::lost_copies::{copy, data, journal};
use crate::wrapped::{Wrapped, can_run, in_mounts, site};

/// Several canaries begin again, one after the other. The copies of those that wait stay.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_canaries_keep_their_copies() {
    for deploy in ["", "require_durable = true"] {
        let site = site(deploy);
        let text = fs::read_to_string(&site.config).expect("text");
        let rules = "[pipelines.p]\ncanary = { share = \"25%\", requests = 400 }\n";
        let text = text.replace("[pipelines.p]\n", rules);
        let pipeline = text[text.find("[pipelines.p]").expect("a pipeline")..].to_owned();
        let names = ["a", "b", "c", "d"];
        let others = names.map(|name| {
            let file = format!("stamp-{name}");
            site.drop_in(&format!("{file}.wasm"), &stamped(0));
            pipeline.replace("pipelines.p", &format!("pipelines.{name}")).replace("\"stamp\"", &format!("{file:?}"))
        });
        plimsoll_tests::replace_file(&site.config, text + &others.concat()).expect("written");
        let served = Wrapped::start(&["env"], &site);
        let plugins = names.map(|name| format!("stamp-{name}"));
        for (mark, plugin) in (1..).zip(&plugins) {
            let (status, reply) = served.json("PUT", &format!("/v1/plugins/{plugin}"), stamped(mark)).await;
            assert_eq!((status, &reply["state"]), (200, &"canary".into()), "{reply}");
        }
        drop(served);
        for _ in 0..3 {
            let served = Wrapped::start(&["env"], &site);
            for plugin in &plugins {
                let states: BTreeSet<_> = served.states(plugin).await.into_iter().collect();
                assert_eq!(states, ["canary", "serving"].map(str::to_owned).into(), "{plugin}: {}", served.log());
            }
            drop(served);
            let copies: Vec<_> = (0..=4).filter(|mark| copy(&site, *mark).is_file()).collect();
            assert_eq!(copies, [0, 1, 2, 3, 4], "{deploy}");
        }
    }
}

/// A component with a custom section of so many bytes.
fn padded(component: &[u8], bytes: u32) -> Vec<u8> {
    let size = bytes + 2;
    let number = [size & 0x7f | 0x80, size >> 7 & 0x7f | 0x80, size >> 14 & 0x7f].map(|part| part as u8);
    [component, &[0], &number, &[1, b'x'], &vec![0; bytes as usize]].concat()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("copied");
        }
    }
}

/// The version that serves has no copy, because the disk is too small for it. The one before it was rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_is_not_recorded_in_place_of_one_without_a_copy() {
    if !can_run(&in_mounts("true")) {
        return;
    }
    let site: Site = site("");
    site.drop_in("stamp.wasm", &padded(&stamped(0), 900_000));
    let disk = in_mounts("mkdir .plimsoll; mount -t tmpfs -o size=800k,mode=700 none .plimsoll");
    let served = Wrapped::start(&disk, &site);
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=2", stamped(1)).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(0));
    let folder = served.path(&site.folder.path().canonicalize().expect("there").join(".plimsoll"));
    let copies = data(&site);
    copy_folder(&folder, &copies);
    drop(served);
    let state = journal_state(&journal(&site));
    let plugin = &state["plugins"]["stamp"];
    assert_eq!(plugin["withdrawn"][0], digest(&stamped(1)), "{plugin}");
    assert!(copy(&site, 1).is_file() && plugin["serving"]["digest"] != digest(&stamped(1)), "{plugin}");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_the_user_beside_pulled_models_stay() {
    let site = site("");
    let models = data(&site).join("models");
    let pulled = models.join("0123456789abcdef".repeat(4));
    let users = [models.join("mine"), models.join("0123456789abcdef"), models.join("x".repeat(64))];
    for folder in users.iter().chain([&pulled]) {
        fs::create_dir_all(folder).expect("made");
        fs::write(folder.join("model.onnx"), "a model").expect("written");
    }
    fs::write(models.join("README.md"), "mine").expect("written");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    assert!(!pulled.exists(), "no configuration names it");
    assert!(users.iter().all(|folder| folder.join("model.onnx").is_file()) && models.join("README.md").is_file());
}
