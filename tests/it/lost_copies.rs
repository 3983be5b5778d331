//! The data folder or the plugin folder cannot be read at a start, or a copy in it is gone. What cannot be read is not gone:
//! no other version takes its place, and nothing of it is overwritten.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, stamped, stamped_reply};

use crate::process::{BINARY, Process};
use crate::watch::{lines, roll_back};
use crate::wrapped::{Wrapped, can_run, is_root, site, until};

/// A user who is not root.
pub(crate) const OTHER: u32 = 54_321;

/// A site whose server ended after these uploads, each a version of `stamp`. Mark 0 is the file in the plugin folder.
pub(crate) async fn after(marks: &[u32]) -> Site {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    for mark in marks {
        let (status, text) = served.send("PUT", &format!("/v1/plugins/stamp?version=1.{mark}"), stamped(*mark)).await;
        assert_eq!(status, 200, "{text}");
    }
    site
}

pub(crate) fn data(site: &Site) -> PathBuf {
    site.folder.path().join(".plimsoll")
}

pub(crate) fn journal(site: &Site) -> Vec<u8> {
    fs::read(data(site).join("plugins.json")).expect("a journal")
}

/// The copy of a mark in the data folder.
pub(crate) fn copy(site: &Site, mark: u32) -> PathBuf {
    data(site).join(format!("components/{}.wasm", digest(&stamped(mark))))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

/// The words that start a program as a user for whom permissions count, who owns the site.
pub(crate) fn as_user(site: &Site) -> Option<Vec<String>> {
    if !is_root() {
        return Some(vec!["env".to_owned()]);
    }
    let words = ["setpriv", &format!("--reuid={OTHER}"), &format!("--regid={OTHER}"), "--clear-groups"];
    own(site.folder.path());
    can_run(&words).then(|| words.map(str::to_owned).to_vec())
}

/// Gives a folder with all that is in it to the other user.
fn own(path: &Path) {
    chown(path, Some(OTHER), Some(OTHER)).expect("root may do that");
    if path.is_dir() {
        fs::read_dir(path).expect("a folder").for_each(|entry| own(&entry.expect("an entry").path()));
    }
}

/// Starts a server that must refuse to start. Returns its log.
pub(crate) fn refusal<W: AsRef<str>>(wrapper: &[W], site: &Site) -> String {
    let mut words: Vec<&str> = wrapper.iter().map(AsRef::as_ref).collect();
    words.push(BINARY);
    let mut command = std::process::Command::new(words[0]);
    command.args(&words[1..]).current_dir(site.folder.path()).env_remove("RUST_LOG");
    command.args(["serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"]);
    let (code, log) = Process::with_own_environment(&mut command).wait_for_exit();
    assert_eq!(code, Some(64), "{log}");
    log
}

/// What is at the path of a copy that served cannot be read. The start is refused, and all stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_served_and_cannot_be_read_is_kept_and_the_start_is_refused() {
    let site = after(&[1]).await;
    let (before, copy) = (journal(&site), copy(&site, 1));
    let away = site.folder.path().join("away");
    fs::rename(&copy, &away).expect("renamed");
    fs::create_dir(&copy).expect("made");
    let log = refusal(&["env"], &site);
    let named = log.contains(&copy.file_name().expect("a name").display().to_string());
    assert!(named && log.contains("it is a folder") && log.contains("given up"), "{log}");
    assert!(journal(&site) == before && copy.is_dir());
    fs::remove_dir(&copy).expect("removed");
    fs::rename(&away, &copy).expect("renamed");

    if let Some(wrapper) = as_user(&site) {
        for (path, mode) in [(copy.clone(), 0o600), (copy.parent().expect("a folder").to_owned(), 0o700)] {
            set_mode(&path, 0);
            let log = refusal(&wrapper, &site);
            assert!(log.contains(&*path.display().to_string()) || log.contains("components/"), "{log}");
            assert!(log.contains("Permission denied"), "{log}");
            assert_eq!(journal(&site), before);
            set_mode(&path, mode);
        }
        let served = Wrapped::start(&wrapper, &site);
        assert_eq!(served.reply().await, stamped_reply(1), "nothing was lost");
        roll_back(&served).await;
        assert_eq!(served.reply().await, stamped_reply(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_previous_copy_that_cannot_be_read_is_kept_for_a_later_start() {
    let site = after(&[1, 2]).await;
    let copy = copy(&site, 1);
    let away = site.folder.path().join("away");
    fs::rename(&copy, &away).expect("renamed");
    fs::create_dir(&copy).expect("made");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(2));
    assert_eq!(lines(&served, "no rollback to version 1.1", "it is a folder"), 1, "{}", served.log());
    // Changes keep it, too.
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1.3", stamped(3)).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    assert!(copy.is_dir());
    fs::remove_dir(&copy).expect("removed");
    fs::rename(&away, &copy).expect("renamed");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(3));
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback?to=1.1", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_place_of_a_lost_version_the_one_before_it_serves_and_the_log_says_so() {
    let site = after(&[1, 2]).await;
    let mut damaged = stamped(2);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(copy(&site, 2), damaged).expect("written");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1), "not mark 0, whose file is in the plugin folder");
    assert_eq!(lines(&served, "ERROR", "version 1.2 is lost, so version 1.1 before it serves"), 1, "{}", served.log());
    assert!(served.log().contains("was changed or damaged"), "{}", served.log());
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1.2", stamped(2)).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(2), "the damaged copy was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_never_takes_the_place_of_a_lost_one() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    site.drop_in("stamp.wasm", &stamped(1));
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    roll_back(&served).await;
    drop(served);
    let before = journal(&site);
    fs::remove_file(copy(&site, 0)).expect("removed");
    for _ in 0..2 {
        let log = refusal(&["env"], &site);
        for words in
            ["of plugin `stamp`, which served, is lost", "is missing", "put its component into the plugin folder"]
        {
            assert!(log.contains(words), "{words}: {log}");
        }
        assert_eq!(journal(&site), before);
    }
    // The same bytes under any name take its place, with all that the journal says of them.
    site.drop_in("stamp@0.9.wasm", &stamped(0));
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    assert_eq!(served.states("stamp").await, ["serving", "previous"]);
    assert_eq!(lines(&served, "is missing", "takes its place"), 1, "{}", served.log());
    drop(served);
    assert_eq!(fs::read(copy(&site, 0)).expect("a copy again"), stamped(0));
    // So does another component that is new.
    fs::remove_file(copy(&site, 0)).expect("removed");
    fs::remove_file(site.plugin("stamp@0.9.wasm")).expect("removed");
    site.drop_in("stamp@2.wasm", &stamped(5));
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(5));
    assert_eq!(lines(&served, "ERROR", "serves instead"), 1, "{}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_of_copies_is_refused() {
    let site = after(&[1]).await;
    let (components, away) = (data(&site).join("components"), site.folder.path().join("away"));
    fs::rename(&components, &away).expect("renamed");
    let before = journal(&site);
    let log = refusal(&["env"], &site);
    assert!(log.contains("is empty, but the journal names components") && log.contains("plugins.json"), "{log}");
    assert_eq!(journal(&site), before);
    fs::remove_dir(&components).expect("made by the start");
    fs::rename(&away, &components).expect("renamed");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_read_is_not_an_empty_one() {
    let site = after(&[1]).await;
    let before = journal(&site);
    let Some(wrapper) = as_user(&site) else { return };
    for path in [data(&site), data(&site).join("plugins.json")] {
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        set_mode(&path, 0);
        let log = refusal(&wrapper, &site);
        assert!(log.contains("plugins.json cannot be read: Permission denied"), "{log}");
        set_mode(&path, mode);
        assert_eq!(journal(&site), before);
    }
    let served = Wrapped::start(&wrapper, &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

/// The folder with the journal comes back while the server runs. Nothing in it is overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_not_read_at_the_start_is_never_overwritten() {
    let site = after(&[1]).await;
    let (data, away) = (data(&site), site.folder.path().join("away"));
    let before = journal(&site);
    fs::rename(&data, &away).expect("renamed");
    fs::write(&data, "").expect("a file at the path of the folder");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    fs::remove_file(&data).expect("removed");
    fs::rename(&away, &data).expect("renamed");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=2", stamped(2)).await;
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    assert!(reply["warning"].as_str().expect("text").contains("restart the server to use it"), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(2));
    assert!(journal(&site) == before && copy(&site, 1).is_file());
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

/// What is written to the folder under a file system that was unmounted would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_another_folder_in_place_of_the_data_folder() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (data, away) = (data(&site), site.folder.path().join("away"));
    fs::rename(&data, &away).expect("renamed");
    fs::create_dir(&data).expect("made");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    assert!(reply["warning"].as_str().expect("text").contains("another folder is in its place"), "{reply}");
    assert_eq!(served.metric("plimsoll_deployments_not_durable").await, 1);
    assert!(!data.join("plugins.json").exists() && !data.join("components").exists());
    fs::remove_dir(&data).expect("empty");
    fs::rename(&away, &data).expect("renamed");
    served.wait_for_metric("plimsoll_deployments_not_durable", 0).await;
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

/// The bundled plugin does not take the place of a file that may be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundled_plugin_does_not_serve_in_place_of_a_file_that_cannot_be_read() {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    let text = text.replace("plugin = \"noop-infer\"", "plugin = \"tensors-postprocess\"");
    plimsoll_tests::replace_file(&site.config, &text).expect("written");
    let folder = site.folder.path().join("plugins");
    let cases: [(&str, &dyn Fn()); 3] = [
        ("tensors-postprocess.wasm", &|| {
            std::os::unix::fs::symlink("/nowhere/x.wasm", site.plugin("tensors-postprocess.wasm")).expect("linked");
        }),
        ("gone.wasm", &|| {
            fs::remove_file(site.plugin("tensors-postprocess.wasm")).expect("removed");
            plimsoll_tests::replace_file(
                &site.config,
                format!("{text}\n[plugins.tensors-postprocess]\nfile = \"gone.wasm\"\n"),
            )
            .expect("written");
        }),
        ("plugins", &|| {
            plimsoll_tests::replace_file(&site.config, text.replace("\"stamp\"", "\"image-preprocess\""))
                .expect("written");
            fs::remove_dir_all(&folder).expect("removed");
            fs::write(&folder, "").expect("a file at the path of the folder");
        }),
    ];
    for (name, make) in cases {
        make();
        let log = refusal(&["env"], &site);
        assert!(log.contains(name) && log.contains("cannot be read"), "{name}: {log}");
        assert!(!data(&site).join("plugins.json").exists(), "{name}");
    }
}
