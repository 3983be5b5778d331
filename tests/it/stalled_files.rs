//! Files that never answer: on a mount that is stalled, or FIFOs and devices. Nothing else waits for them, and the log
//! names them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_tests::{Site, guest, stamped, stamped_reply};

use crate::process::Process;
use crate::served_folder::{ServedFolder, command, folder};
use crate::watch::lines;
use crate::wrapped::{TOKEN, Wrapped, can_run, in_mounts, is_root, site, until};

/// The words that start a program with a FUSE mount whose file system answers nothing; `None` if that is not possible
/// here. The program itself has the connection open, so that its end also ends the mount.
pub(crate) fn stalled_mount(at: &Path) -> Option<Vec<String>> {
    if !can_mount_fuse() {
        return None;
    }
    fs::create_dir(at).expect("made");
    let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    let wrapper = in_mounts(&format!("exec 3<>/dev/fuse; mount -i -t fuse -o {options} none {}", at.display()));
    can_run(&wrapper).then_some(wrapper)
}

/// Returns false, and prints why, if there are no FUSE mounts. They need root, which `.ci/run` has, because it installs
/// packages. Whether there is `/dev/fuse` is decided by the kernel or the container, so it is not required in CI.
pub(crate) fn can_mount_fuse() -> bool {
    if !is_root() {
        plimsoll_tests::skip("a FUSE mount needs root");
        return false;
    }
    let exists = Path::new("/dev/fuse").exists();
    if !exists {
        eprintln!("SKIPPED: a FUSE mount needs /dev/fuse, which this machine does not have");
    }
    exists
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_does_not_answer_delays_nothing_else() {
    let site = site("");
    let stalled = site.folder.path().join("stalled");
    let Some(wrapper) = stalled_mount(&stalled) else { return };
    symlink(stalled.join("x.wasm"), site.plugin("stalled.wasm")).expect("linked");
    // A component whose manifest does not answer.
    site.drop_in("limited.wasm", &stamped(4));
    symlink(stalled.join("x.toml"), site.plugin("limited.toml")).expect("linked");
    let served = Wrapped::start(&wrapper, &site);
    served.wait_for_metric("plimsoll_unreadable_files", 2).await;
    assert_eq!(served.metric("plimsoll_blocked_file_accesses").await, 2);

    // Files, uploads, rollbacks and new configurations.
    site.drop_in("stamp.wasm", &stamped(1));
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    let started = Instant::now();
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=2", stamped(2)).await;
    assert_eq!(status, 200, "{text}");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n"))
        .expect("written");
    until("the new configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 9.0
    })
    .await;
    // An upload whose manifest does not answer is refused.
    let (status, text) = served.send("PUT", "/v1/plugins/limited?version=3", stamped(3)).await;
    assert!(status == 500 && text.contains("limited"), "{status} {text}");

    // A model on the mount: the configuration is tried again, and the present one continues to serve.
    let model = format!("[models.m]\nfile = {:?}\n[pipelines.p]\n", stalled.join("m.onnx"));
    let with_model = text_with(&site, "[pipelines.p]\n", &model)
        .replace("[pipelines.p.chips.c]\n", "[pipelines.p.chips.c]\nmodel = \"m\"\n");
    plimsoll_tests::replace_file(&site.config, with_model).expect("written");
    until("the model is reported", async || lines(&served, "m.onnx", "it is tried again") == 1).await;
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=4", stamped(4)).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(4));

    served.wait_for_failed_scans(3).await;
    assert!(served.metric("plimsoll_blocked_file_accesses").await <= 4, "the same files block no more threads");
    for name in ["stalled.wasm", "limited.wasm"] {
        assert_eq!(lines(&served, name, "it is tried again"), 1, "{}", served.log());
    }
    assert_eq!(lines(&served, "stalled.wasm", "check its mount"), 1, "{}", served.log());
    assert_eq!(served.send("GET", "/v2/health/ready", Vec::new()).await.0, 200);
}

/// Plugins on a stalled mount keep no other file from being read: other plugins, the configuration and the keys. They are not
/// waited for one after the other, which would take 100 s.
#[tokio::test(flavor = "multi_thread")]
async fn many_files_that_do_not_answer_do_not_keep_keys_and_configuration_from_being_read() {
    let site = site("");
    let stalled = site.folder.path().join("stalled");
    let Some(wrapper) = stalled_mount(&stalled) else { return };
    for number in 0..20 {
        symlink(stalled.join(format!("{number}.wasm")), site.plugin(&format!("stalled-{number}.wasm")))
            .expect("linked");
    }
    let keys = site.folder.path().join("keys");
    fs::write(&keys, format!("acme sha256:{}\n", plimsoll_runtime::identity::digest(TOKEN.as_bytes())))
        .expect("written");
    let text = text_with(&site, "[admin]\n", "[auth]\nkeys_file = \"keys\"\n[admin]\n");
    plimsoll_tests::replace_file(&site.config, &text).expect("written");
    let started = Instant::now();
    let served = Wrapped::start(&wrapper, &site);
    assert!(started.elapsed() < Duration::from_secs(70), "{:?}", started.elapsed());
    // Of one file system only some are tried: the others are refused without waiting for them.
    served.wait_for_metric("plimsoll_blocked_file_accesses", 4).await;
    served.wait_for_metric("plimsoll_unreadable_files", 20).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.reply().await, stamped_reply(0));
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n"))
        .expect("written");
    until("the new configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 9.0
    })
    .await;
    // A key that is revoked must not stay valid.
    fs::write(&keys, "").expect("written");
    until("the key is revoked", async || served.send("POST", "/v1/pipelines/p/infer", Vec::new()).await.0 == 401).await;
    assert_eq!(served.metric("plimsoll_blocked_file_accesses").await, 4);
    // Other files in the same folder are still deployed.
    site.drop_in("late.wasm", &stamped(7));
    until("the new file", async || served.states("late").await == ["unused"]).await;
}

/// The access to the old target stays blocked. The path leads elsewhere now, so it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_replaced_is_read_although_its_old_target_does_not_answer() {
    let site = site("");
    let stalled = site.folder.path().join("stalled");
    let Some(wrapper) = stalled_mount(&stalled) else { return };
    let good = site.folder.path().join("good");
    fs::create_dir(&good).expect("made");
    fs::write(good.join("x.wasm"), stamped(4)).expect("written");
    // A link to a file on the mount, and one to a file behind a link to the mount.
    symlink(stalled.join("x.wasm"), site.plugin("one.wasm")).expect("linked");
    let folder = site.folder.path().join("folder");
    symlink(&stalled, &folder).expect("linked");
    symlink(folder.join("x.wasm"), site.plugin("two.wasm")).expect("linked");
    let served = Wrapped::start(&wrapper, &site);
    served.wait_for_metric("plimsoll_unreadable_files", 2).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.metric("plimsoll_blocked_file_accesses").await, 2, "they are tried again only when replaced");
    for (link, target) in [(site.plugin("one.wasm"), good.join("x.wasm")), (folder.clone(), good.clone())] {
        let new = site.folder.path().join("new");
        symlink(target, &new).expect("linked");
        fs::rename(new, link).expect("replaced");
    }
    for name in ["one", "two"] {
        until(name, async || served.states(name).await == ["unused"]).await;
    }
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    assert_eq!(served.metric("plimsoll_blocked_file_accesses").await, 2, "the old accesses are still blocked");
    assert_eq!(lines(&served, "one.wasm", "it is tried again"), 1, "{}", served.log());
}

fn text_with(site: &Site, place: &str, new: &str) -> String {
    let text = fs::read_to_string(&site.config).expect("text");
    assert!(text.contains(place), "{text}");
    text.replacen(place, new, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_name_is_not_utf_8_is_reported_once() {
    let site = site("");
    let path = site.plugin("x").with_file_name(OsStr::from_bytes(b"caf\xe9@1.wasm"));
    fs::write(&path, stamped(1)).expect("written");
    fs::write(path.with_file_name(OsStr::from_bytes(b"._caf\xe9.wasm")), "").expect("written");
    fs::write(path.with_file_name(OsStr::from_bytes(b"caf\xe9.txt")), "").expect("written");
    let served = Wrapped::start(&["env"], &site);
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(lines(&served, "xe9@1.wasm`", "rename it to `NAME.wasm`"), 1, "{}", served.log());
    fs::rename(&path, site.plugin("cafe@1.wasm")).expect("renamed");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    until("the renamed file", async || served.states("cafe").await == ["unused"]).await;
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

#[test]
fn a_fifo_in_place_of_a_file_of_settings_is_refused_at_the_start() {
    let model = format!(
        "[plugins.noop-infer]\nfile = {:?}\n[models.m]\nfile = \"pipe\"\n[pipelines.q.preprocess]\nplugin = \"tester\"\n\
         [pipelines.q.chips.c]\nplugin = \"noop-infer\"\nmodel = \"m\"\n[pipelines.q.postprocess]\nplugin = \"tester\"\n",
        guest("noop-infer")
    );
    let cases = [
        ("[admin]\ntoken_file = \"pipe\"", "admin.token_file"),
        ("[auth]\nkeys_file = \"pipe\"", "auth.keys_file"),
        ("[tls]\ncert = \"pipe\"\nkey = \"pipe\"", "tls.cert"),
        (model.as_str(), "models.m"),
    ];
    for (more, key) in cases {
        let folder = folder(more);
        fifo(&folder.path().join("pipe"));
        refused(folder.path(), "plimsoll.toml", &[key, "pipe", "it is a FIFO, not a regular file"]);
    }
    let folder = folder("");
    fifo(&folder.path().join("pipe"));
    refused(folder.path(), "pipe", &["pipe", "it is a FIFO, not a regular file"]);
    refused(folder.path(), "/dev/zero", &["/dev/zero", "it is a device, not a regular file"]);
}

fn refused(folder: &Path, config: &str, words: &[&str]) {
    let mut command = command(folder);
    let mut process =
        Process::with_own_environment(command.args(["serve", "--listen", "127.0.0.1:0", "--config", config]));
    let (code, log) = process.wait_for_exit();
    assert!(code.is_some_and(|code| code != 0), "{code:?} {log}");
    for word in words {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
}

/// Administration is closed then, as with every token that cannot be read.
#[test]
fn a_fifo_in_place_of_the_token_that_the_server_makes_does_not_block_the_start() {
    let folder = folder("");
    fs::create_dir(folder.path().join(".plimsoll")).expect("made");
    fifo(&folder.path().join(".plimsoll/admin-token"));
    let served = ServedFolder::serve(folder.path(), &[]);
    let log = served.wait_for("admin-token");
    assert!(log.contains("it is a FIFO, not a regular file"), "{log}");
}
