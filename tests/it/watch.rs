//! The plugin folder is watched: what was handled is not deployed again, and a new file is deployed once it can be
//! read.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::SystemTime;

use plimsoll_tests::{Site, stamped, stamped_reply};

use crate::wrapped::{Wrapped, can_run, is_root, site, until};

/// Serves mark 0, with mark 1 rolled back although its file is in the folder, and with an unused plugin.
pub(crate) async fn rolled_back(wrapper: &[&str]) -> (Site, Wrapped) {
    let site = site("");
    let served = Wrapped::start(wrapper, &site);
    site.drop_in("stamp.wasm", &stamped(1));
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    roll_back(&served).await;
    served.wait_for_scan(&site, "other").await;
    assert_unchanged(&served).await;
    (site, served)
}

pub(crate) async fn roll_back(served: &Wrapped) {
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
}

pub(crate) async fn assert_unchanged(served: &Wrapped) {
    assert_eq!(served.states("stamp").await, ["serving", "previous"]);
    assert_eq!(served.states("other").await, ["unused"]);
    assert_eq!(served.reply().await, stamped_reply(0));
}

/// The number of log lines with both texts.
pub(crate) fn lines(served: &Wrapped, one: &str, other: &str) -> usize {
    served.log().lines().filter(|line| line.contains(one) && line.contains(other)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_rolled_back_does_not_come_back_with_the_same_bytes() {
    let (site, served) = rolled_back(&["env"]).await;
    let path = site.plugin("stamp.wasm");
    let changes: [(&str, &dyn Fn()); 5] = [
        ("touched", &|| {
            let file = fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(SystemTime::now()).expect("set");
        }),
        ("written again", &|| fs::write(&path, stamped(1)).expect("written")),
        ("replaced", &|| {
            fs::write(site.plugin("draft"), stamped(1)).expect("written");
            fs::rename(site.plugin("draft"), &path).expect("renamed");
        }),
        ("other permissions", &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set")),
        ("an older time", &|| {
            let file = fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
        }),
    ];
    for (round, (what, change)) in changes.into_iter().enumerate() {
        change();
        served.wait_for_scan(&site, &format!("scan-{round}")).await;
        assert_eq!(served.reply().await, stamped_reply(0), "{what}");
        assert_unchanged(&served).await;
    }
    // Moved away for a while.
    fs::rename(&path, site.plugin("away")).expect("renamed");
    served.wait_for_scan(&site, "moved").await;
    fs::rename(site.plugin("away"), &path).expect("renamed");
    served.wait_for_scan(&site, "moved-back").await;
    assert_unchanged(&served).await;

    // A restart decides in the same way.
    drop(served);
    fs::write(&path, stamped(1)).expect("written");
    let served = Wrapped::start(&["env"], &site);
    served.wait_for_scan(&site, "restarted").await;
    assert_eq!(served.reply().await, stamped_reply(0));
    // Other bytes are a new release.
    fs::write(&path, stamped(2)).expect("written");
    until("mark 2", async || served.reply().await == stamped_reply(2)).await;
}

/// Kubernetes mounts a ConfigMap as links into a folder, which an update replaces as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_updated_config_map_deploys_only_what_has_changed() {
    let site = site("");
    fs::remove_file(site.plugin("stamp.wasm")).expect("there");
    let update = |number: u32, files: &[(&str, u32)]| {
        let folder = format!("..{number}");
        fs::create_dir(site.plugin(&folder)).expect("made");
        for (name, mark) in files {
            fs::write(site.plugin(&folder).join(name), stamped(*mark)).expect("written");
        }
        symlink(&folder, site.plugin("..data_tmp")).expect("linked");
        fs::rename(site.plugin("..data_tmp"), site.plugin("..data")).expect("renamed");
        if let Some(before) = number.checked_sub(1) {
            let _ = fs::remove_dir_all(site.plugin(&format!("..{before}")));
        }
    };
    update(0, &[("stamp.wasm", 0), ("other.wasm", 5)]);
    for name in ["stamp.wasm", "other.wasm"] {
        symlink(format!("..data/{name}"), site.plugin(name)).expect("linked");
    }
    let served = Wrapped::start(&["env"], &site);
    until("the other plugin", async || served.states("other").await == ["unused"]).await;
    update(1, &[("stamp.wasm", 1), ("other.wasm", 5)]);
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    roll_back(&served).await;
    update(2, &[("stamp.wasm", 1), ("other.wasm", 6)]);
    until("the other plugin's update", async || served.states("other").await == ["unused", "previous"]).await;
    assert_eq!(served.states("stamp").await, ["serving", "previous"]);
    assert_eq!(served.reply().await, stamped_reply(0));
    // The target of the links is gone for a while.
    fs::rename(site.plugin("..2"), site.plugin("..away")).expect("renamed");
    served.wait_for_metric("plimsoll_unreadable_files", 2).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.states("other").await, ["unused", "previous"]);
    fs::rename(site.plugin("..away"), site.plugin("..2")).expect("renamed");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    served.wait_for_scan(&site, "scan").await;
    assert_eq!(served.reply().await, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_file_was_removed_is_deployed_again_with_its_file() {
    let (site, served) = rolled_back(&["env"]).await;
    fs::remove_file(site.plugin("other.wasm")).expect("removed");
    until("the removal", async || served.states("other").await.is_empty()).await;
    served.wait_for_scan(&site, "other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_permission_is_deployed_once_it_can_be_read() {
    const NOBODY: u32 = 65_534;
    let user: &[&str] = match is_root() {
        true => &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        false => &["env"],
    };
    if !can_run(user) {
        return;
    }
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    // The cache of the tests belongs to another user.
    let rest = text.split_once('\n').expect("lines").1.to_owned();
    plimsoll_tests::replace_file(&site.config, format!("cache_dir = \"own-cache\"\n{rest}")).expect("written");
    let own = |path: &std::path::Path| {
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
        }
    };
    own(site.folder.path());
    for entry in fs::read_dir(site.folder.path()).expect("a folder").chain(fs::read_dir(site.plugin("")).expect("one"))
    {
        own(&entry.expect("an entry").path());
    }
    let served = Wrapped::start(user, &site);
    fs::write(site.folder.path().join("draft"), stamped(1)).expect("written");
    fs::set_permissions(site.folder.path().join("draft"), fs::Permissions::from_mode(0o000)).expect("set");
    own(&site.folder.path().join("draft"));
    fs::rename(site.folder.path().join("draft"), site.plugin("stamp.wasm")).expect("renamed");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    let (_, plugin) = served.json("GET", "/v1/plugins/stamp", Vec::new()).await;
    let refused = plugin["versions"].as_array().expect("a list").last().expect("a version").clone();
    assert_eq!(refused["state"], "refused");
    assert!(refused["reason"].as_str().expect("text").contains("Permission denied"), "{refused}");
    until("the log", async || lines(&served, "stamp.wasm", "it is tried again") > 0).await;
    assert_eq!(lines(&served, "stamp.wasm", "it is tried again"), 1, "{}", served.log());
    fs::set_permissions(site.plugin("stamp.wasm"), fs::Permissions::from_mode(0o600)).expect("set");
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    assert_eq!(served.states("stamp").await, ["serving", "previous"]);

    // Everything that was rejected is tried again, whatever the reason.
    site.drop_in("stamp.wasm", b"\0asm no more");
    let refused = "plimsoll_deployments_total{plugin=\"stamp\",result=\"refused\"}";
    served.wait_for_metric(refused, 1).await;
    fs::set_permissions(site.plugin("stamp.wasm"), fs::Permissions::from_mode(0o644)).expect("set");
    served.wait_for_metric(refused, 2).await;
}

/// Writes the plugin `huge`: a section of 3 GiB, which is not complete. Its size takes five bytes.
fn write_huge(site: &Site) {
    let draft = site.folder.path().join("draft");
    let mut file = fs::File::create(&draft).expect("created");
    file.write_all(b"\0asm\x0d\0\x01\0\0\x80\x80\x80\x80\x0c").expect("written");
    file.seek(SeekFrom::Start(2 << 30)).expect("sought");
    file.write_all(&[0]).expect("written");
    fs::rename(draft, site.plugin("huge.wasm")).expect("renamed");
}

/// A start compiles in many threads, so its peak of memory is larger than that of a server that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_file_is_refused_at_the_start_without_being_read() {
    let site = site("");
    write_huge(&site);
    let served = Wrapped::start(&["env"], &site);
    until("the refusal", async || served.states("huge").await == ["refused"]).await;
    assert_eq!(served.reply().await, stamped_reply(0));
    let status = fs::read_to_string(format!("/proc/{}/status", served.pid())).expect("it runs");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line").trim();
    let most: u64 = most.trim_end_matches(" kB").parse().expect("a number");
    assert!(most < 1 << 20, "{most} KiB");
}

/// The file takes no disk space, because it is sparse.
#[tokio::test(flavor = "multi_thread")]
async fn a_huge_file_is_refused_without_being_read() {
    let (site, served) = rolled_back(&["env"]).await;
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", served.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line").to_owned();
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    };
    let before = resident();
    write_huge(&site);
    until("the refusal", async || served.states("huge").await == ["refused"]).await;
    let (_, text) = served.send("GET", "/v1/plugins/huge", Vec::new()).await;
    assert!(text.contains("deploy.max_plugin"), "{text}");
    let grown = resident() - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
    // It is forgotten with its file.
    fs::remove_file(site.plugin("huge.wasm")).expect("removed");
    until("the removal", async || served.states("huge").await.is_empty()).await;
}
