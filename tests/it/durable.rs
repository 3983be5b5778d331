//! If a restart would lose a deployment, the reply and the log say so. Full and read-only disks do no lasting harm.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};

use crate::durable_removal::replace_by_a_copy;
use crate::wrapped::{Wrapped, can_run, in_mounts, is_root, site, until};

/// Starts a server whose data folder is a small file system. `None` if that is not possible.
pub(crate) fn on_a_small_disk(deploy: &str) -> Option<(Site, Wrapped)> {
    let site = site(deploy);
    let mounts = in_mounts("mkdir .plimsoll; mount -t tmpfs -o size=600k,mode=700 none .plimsoll");
    can_run(&in_mounts("true")).then(|| {
        let served = Wrapped::start(&mounts, &site);
        (site, served)
    })
}

/// The path of a file in the data folder, as the process sees it.
pub(crate) fn data(site: &Site, served: &Wrapped, name: &str) -> PathBuf {
    served.path(&site.folder.path().canonicalize().expect("there").join(".plimsoll").join(name))
}

/// Fills the data folder's disk to the last byte.
pub(crate) fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("created");
    while file.write_all(&[1; 512]).is_ok() {}
}

/// The files in a folder whose names end in one of these.
fn drafts(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.extension().is_some_and(|it| it == "draft" || it == "tmp")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_a_restart_would_lose_gets_a_warning_and_is_stored_later() {
    let Some((site, served)) = on_a_small_disk("") else { return };
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1.0.1", stamped(1)).await;
    assert_eq!((status, &reply["state"], &reply["durable"]), (200, &"serving".into(), &true.into()), "{reply}");
    assert!(reply["warning"].is_null(), "{reply}");
    let journal = || journal_state(&fs::read(data(&site, &served, "plugins.json")).expect("a journal"));
    let before = journal();
    replace_by_a_copy(&data(&site, &served, "plugins.json"));
    fill(&data(&site, &served, "filling"));

    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1.0.2", stamped(2)).await;
    assert_eq!((status, &reply["state"], &reply["durable"]), (200, &"serving".into(), &false.into()), "{reply}");
    let warning = reply["warning"].as_str().expect("text");
    assert!(warning.contains("a restart forgets") && warning.contains("No space left"), "{warning}");
    assert_eq!(served.reply().await, stamped_reply(2));
    assert_eq!(served.metric("plimsoll_deployments_not_durable").await, 1);
    assert!(served.metric("plimsoll_failed_journal_writes_total").await > 0);
    assert_eq!(journal(), before, "the old journal is still complete");
    for folder in ["", "components"] {
        assert_eq!(drafts(&data(&site, &served, folder)), Vec::<PathBuf>::new(), "drafts keep the disk full");
    }
    // A rollback is never prevented; its reply only has a warning.
    let (status, reply) = served.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &reply["version"], &reply["durable"]), (200, &"1.0.1".into(), &false.into()), "{reply}");
    let (status, reply) = served.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &reply["version"], &reply["durable"]), (200, &"1.0.2".into(), &false.into()), "{reply}");

    // It becomes durable without another change.
    fs::remove_file(data(&site, &served, "filling")).expect("removed");
    served.wait_for_metric("plimsoll_deployments_not_durable", 0).await;
    let digest = plimsoll_runtime::identity::digest(&stamped(2));
    assert_eq!(journal()["plugins"]["stamp"]["serving"]["digest"], digest);
    assert!(data(&site, &served, &format!("components/{digest}.wasm")).is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_must_be_durable_is_refused_if_it_is_not() {
    let Some((site, served)) = on_a_small_disk("require_durable = true") else { return };
    fill(&data(&site, &served, "filling"));
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["code"]), (507, &"not_durable".into()), "{reply}");
    let detail = reply["detail"].as_str().expect("text");
    assert!(detail.contains("deploy.require_durable") && detail.contains("No space left"), "{detail}");
    assert_eq!(served.states("stamp").await, ["serving"]);
    // The same holds for a file in the plugin folder. The next scan tries it again.
    site.drop_in("stamp.wasm", &stamped(2));
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_eq!(served.reply().await, stamped_reply(0));
    assert_eq!(served.states("stamp").await, ["serving"]);
    fs::remove_file(data(&site, &served, "filling")).expect("removed");
    until("mark 2", async || served.reply().await == stamped_reply(2)).await;
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_data_folder_is_read_and_deployments_get_a_warning() {
    if !can_run(&in_mounts("true")) {
        return;
    }
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    site.drop_in("stamp.wasm", &stamped(1));
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    assert_eq!(served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await.0, 200);
    drop(served);
    let read_only = in_mounts("mount --bind .plimsoll .plimsoll; mount -o remount,bind,ro .plimsoll");
    let served = Wrapped::start(&read_only, &site);
    served.wait_for_scan(&site, "scan").await;
    assert_eq!(served.reply().await, stamped_reply(0), "the rollback is remembered");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(2)).await;
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    assert!(reply["warning"].as_str().expect("text").contains("Read-only file system"), "{reply}");
    assert_eq!(served.metric("plimsoll_deployments_not_durable").await, 1);
}

/// A site with its own compiled cache, and the cache's folder.
fn site_with_cache() -> (Site, PathBuf) {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    let rest = text.split_once('\n').expect("lines").1.to_owned();
    plimsoll_tests::replace_file(&site.config, format!("cache_dir = \"own-cache\"\n{rest}")).expect("written");
    let cache = site.folder.path().join("own-cache");
    (site, cache)
}

/// The entries of a cache, with their contents.
fn entries(cache: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(cache).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "cwasm"));
    let mut entries: Vec<_> = files.map(|path| (path.clone(), fs::read(path).expect("readable"))).collect();
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_of_dead_processes_are_removed_and_those_of_live_ones_are_not() {
    let (site, cache) = site_with_cache();
    drop(Wrapped::start(&["env"], &site));
    let data = site.folder.path().join(".plimsoll");
    let of_zeros = |name: &str| data.join(name.replace('0', &"0".repeat(64)));
    let drafts = [cache.join("0123.1.tmp"), cache.join("key.77.tmp"), data.join("plugins.draft")];
    let copies = ["0-7.draft", "components/0-7.draft", "components/0.wasm"].map(of_zeros);
    let dead: Vec<_> = drafts.into_iter().chain(copies).collect();
    let foreign = ["letter.draft", "components/theirs.wasm"].map(|name| data.join(name));
    dead.iter().chain(&foreign).for_each(|path| fs::write(path, [1; 5000]).expect("written"));
    let live = cache.join("4567.1.tmp");
    let writer = fs::File::create(&live).expect("created");
    writer.lock().expect("locked");
    drop(Wrapped::start(&["env"], &site));
    assert_eq!(dead.iter().filter(|path| path.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    assert!(foreign.iter().chain([&live]).all(|path| path.exists()), "another process writes it now");
    drop(writer);
    drop(Wrapped::start(&["env"], &site));
    assert!(!live.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_on_a_full_disk_leaves_no_drafts() {
    if !can_run(&in_mounts("true")) {
        return;
    }
    let (site, cache) = site_with_cache();
    let served =
        Wrapped::start(&in_mounts("mkdir own-cache; mount -t tmpfs -o size=16k,mode=700 none own-cache"), &site);
    let cache = served.path(&cache.canonicalize().expect("there"));
    assert_eq!(served.reply().await, stamped_reply(0));
    assert_eq!((drafts(&cache), entries(&cache)), (Vec::new(), Vec::new()));
    let warnings = |log: &str| log.lines().filter(|line| line.contains("cannot cache compiled code")).count();
    until("the log", async || warnings(&served.log()) > 0).await;
    assert_eq!(warnings(&served.log()), 1, "one warning: {}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_key_is_replaced() {
    let (site, cache) = site_with_cache();
    drop(Wrapped::start(&["env"], &site));
    let before = entries(&cache);
    assert_eq!(before.len(), 2, "`stamp` and `noop-infer`");
    for key in [&[][..], &[1; 31], &[1; 33]] {
        fs::write(cache.join("key"), key).expect("written");
        let served = Wrapped::start(&["env"], &site);
        assert_eq!(served.reply().await, stamped_reply(0));
        drop(served);
        assert_eq!(fs::read(cache.join("key")).expect("there").len(), 32);
        let after = entries(&cache);
        assert!(before.iter().zip(&after).all(|(before, after)| before.0 == after.0 && before.1 != after.1));
        drop(Wrapped::start(&["env"], &site));
        assert_eq!(entries(&cache), after, "nothing is compiled again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_cache_is_read() {
    if !can_run(&in_mounts("true")) {
        return;
    }
    let (site, cache) = site_with_cache();
    drop(Wrapped::start(&["env"], &site));
    let before = entries(&cache);
    let read_only = in_mounts("mount --bind own-cache own-cache; mount -o remount,bind,ro own-cache");
    let served = Wrapped::start(&read_only, &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    // Compiled code would be stored, which fails here. So the log shows whether something was compiled.
    let has_warning =
        |log: &str| log.contains("cannot use the compiled cache") || log.contains("cannot cache compiled code");
    assert!(!has_warning(&served.log()), "{}", served.log());
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!(status, 200, "{reply}");
    until("the log", async || has_warning(&served.log())).await;
    assert_eq!(entries(&cache), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_another_user_is_explained() {
    const OTHER: u32 = 54_321;
    if !is_root() {
        plimsoll_tests::skip("only root can give a folder to another user");
        return;
    }
    let (site, cache) = site_with_cache();
    drop(Wrapped::start(&["env"], &site));
    chown(&cache, Some(OTHER), None).expect("root may do that");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    let log = served.log();
    let warning = log.lines().find(|line| line.contains("cannot use the compiled cache"));
    let warning = warning.unwrap_or_else(|| panic!("no warning: {log}"));
    for word in ["own-cache", "belongs to the user with the id 54321", "runs as 0", "chown -R 0", "cache_dir"] {
        assert!(warning.contains(word), "{word:?} is missing in {warning}");
    }
    drop(served);
    // A cache that belongs to root, for example in a container image, is used by all users who can read its key.
    chown(&cache, Some(0), None).expect("root may do that");
    let before = entries(&cache);
    let user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"];
    if !can_run(&user) {
        return;
    }
    let give = |path: &Path| chown(path, Some(OTHER), Some(OTHER)).expect("root may do that");
    give(site.folder.path());
    give(&site.folder.path().join("token"));
    give(&site.folder.path().join("plugins"));
    fs::remove_dir_all(site.folder.path().join(".plimsoll")).expect("removed");
    let open = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    };
    open(&cache, 0o755);
    let served = Wrapped::start(&user, &site);
    until("the log", async || served.log().contains("its key must be readable")).await;
    drop(served);
    fs::read_dir(&cache).expect("a folder").for_each(|entry| open(&entry.expect("an entry").path(), 0o644));
    let served = Wrapped::start(&user, &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    assert!(!served.log().contains("compiled cache") && !served.log().contains("cannot cache"), "{}", served.log());
    drop(served);
    assert_eq!(entries(&cache), before);
}

/// Without a token administration is closed, and the log says how to open it. The token is made once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_full_disk_prevents_is_made_once_there_is_room() {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[admin]\ntoken_file = \"token\"\n", "")).expect("written");
    let disk = "mkdir .plimsoll; mount -t tmpfs -o size=64k,mode=700 none .plimsoll";
    if !can_run(&in_mounts("true")) {
        return;
    }
    let served = Wrapped::start(&in_mounts(&format!("{disk}; head -c 99k /dev/zero > .plimsoll/x || true")), &site);
    let log = served.log();
    let line = log.lines().find(|line| line.contains("administration: closed")).unwrap_or_else(|| panic!("{log}"));
    for words in ["WARN", "admin-token", "No space left", "token_file", "PLIMSOLL_ADMIN_TOKEN"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    let (status, refused) = served.json("GET", "/v1/plugins", Vec::new()).await;
    assert_eq!(status, 401, "{refused}");
    assert!(refused["detail"].as_str().expect("text").contains("its log says why"), "{refused}");
    let page =
        async || [served.send("GET", "/", vec![]).await.0, served.send("GET", "/console/app.js", vec![]).await.0];
    assert_eq!(page().await, [404; 2], "the console is closed, too");
    assert_eq!(served.reply().await, stamped_reply(0), "requests are served");
    fs::remove_file(data(&site, &served, "x")).expect("removed");
    until("a token", async || {
        served.send("GET", "/v1/plugins", Vec::new()).await;
        data(&site, &served, "admin-token").is_file()
    })
    .await;
    let token = fs::read_to_string(data(&site, &served, "admin-token")).expect("text");
    let request = reqwest::Client::new().get(format!("http://{}/v1/plugins", served.address()));
    let reply = request.bearer_auth(token.trim()).send().await.expect("a reply");
    assert_eq!(reply.status(), 200);
    assert_eq!(page().await, [200; 2]);
}
