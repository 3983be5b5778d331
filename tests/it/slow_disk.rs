//! A disk that is slow delays the configuration that is read from it, and neither deployments nor rollbacks.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use plimsoll_tests::{Site, data, guest, stamped, stamped_reply};
use tokio::net::TcpListener;

use crate::stalled_files::can_mount_fuse;
use crate::wrapped::{Wrapped, can_run, in_mounts, site, until};

/// Bytes of an asset. To read it takes half a minute, at a rate that counts as progress.
const LARGE: usize = 16 << 20;

/// The words that start a program with the files of `files` in `at`, where they are read slowly until `files` has a file
/// `fast`. `None` if that is not possible here.
fn slow_mount(files: &Path, at: &Path) -> Option<Vec<String>> {
    if !can_mount_fuse() {
        return None;
    }
    let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    let wrapper = in_mounts(&format!(
        "command -v python3 > /dev/null; exec 3<>/dev/fuse; mount -i -t fuse -o {options} none {}; {{ python3 {} {} 0.25 $$ & }}",
        at.display(),
        data("slow_files.py").display(),
        files.display()
    ));
    can_run(&wrapper).then_some(wrapper)
}

/// Returns true while the process reads the file.
fn is_reading(served: &Wrapped, file: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", served.pid())).expect("it runs");
    open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).any(|open| open == file)
}

/// A site whose preprocess stage has an asset on a slow disk, and whose plugin `stamp` may run `init` for 20 s.
fn slow_site() -> (Site, std::path::PathBuf) {
    let site = site("");
    let [files, mount] = ["files", "mount"].map(|name| site.folder.path().join(name));
    for folder in [&files, &mount] {
        fs::create_dir(folder).expect("made");
    }
    fs::write(files.join("large"), vec![7; LARGE]).expect("written");
    fs::write(files.join("fast"), "").expect("written");
    let text = fs::read_to_string(&site.config).expect("text");
    let asset = format!("[pipelines.p.preprocess]\nassets = {{ large = {:?} }}\n", mount.join("large"));
    let text = text.replace("[pipelines.p.preprocess]\n", &asset);
    let text = text.replace("[pipelines.p]\n", "[plugins.stamp]\ninit_deadline = \"20s\"\n[pipelines.p]\n");
    assert!(text.contains("large") && text.contains("init_deadline"), "{text}");
    plimsoll_tests::replace_file(&site.config, text).expect("written");
    (site, files)
}

async fn roll_back(served: &Wrapped, mark: u32) {
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_and_rollbacks_do_not_wait_for_a_slow_disk() {
    let (site, files) = slow_site();
    let large = site.folder.path().join("mount/large");
    let Some(wrapper) = slow_mount(&files, &site.folder.path().join("mount")) else { return };
    let served = Wrapped::start(&wrapper, &site);
    fs::remove_file(files.join("fast")).expect("removed");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n"))
        .expect("written");
    until("the new configuration is read", async || is_reading(&served, &large)).await;
    for (version, mark) in [("1", 1), ("2", 2)] {
        let (status, text) = served.send("PUT", &format!("/v1/plugins/stamp?version={version}"), stamped(mark)).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(served.reply().await, stamped_reply(mark));
    }
    roll_back(&served, 1).await;
    assert!(is_reading(&served, &large), "the changes waited for the disk");
    fs::write(files.join("fast"), "").expect("written");
    served.wait_for_metric("plimsoll_config_reloads_total{result=\"served\"}", 1).await;
    let (_, pipelines) = served.json("GET", "/v1/pipelines", Vec::new()).await;
    assert_eq!(pipelines["pipelines"][0]["deadline_seconds"], 9.0);
    assert_eq!(served.reply().await, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_waits_neither_for_a_compiler_nor_for_a_registry_nor_for_a_disk() {
    let (site, files) = slow_site();
    let large = site.folder.path().join("mount/large");
    let Some(wrapper) = slow_mount(&files, &site.folder.path().join("mount")) else { return };
    let served = Arc::new(Wrapped::start(&wrapper, &site));
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!(status, 200, "{text}");
    // A registry that accepts the connection and sends nothing.
    let registry = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = registry.local_addr().expect("bound");
    let text = fs::read_to_string(&site.config).expect("text");
    let noop = format!("file = {:?}", guest("noop-infer"));
    assert!(text.contains(&noop), "{text}");
    plimsoll_tests::replace_file(&site.config, text.replace(&noop, &format!("file = \"oci://{address}/noop:1\"")))
        .expect("written");
    let connection = registry.accept().await.expect("a reload pulls");
    // The pipeline is built again from its files, which are slow now.
    fs::remove_file(files.join("fast")).expect("removed");
    let load = tokio::spawn({
        let served = Arc::clone(&served);
        async move { served.send("POST", "/v2/repository/models/p/load", Vec::new()).await }
    });
    until("the asset is read", async || is_reading(&served, &large)).await;
    let compile = tokio::spawn({
        let served = Arc::clone(&served);
        let bytes = fs::read(guest("init-loops")).expect("built");
        async move { served.send("PUT", "/v1/plugins/stamp?version=2", bytes).await }
    });
    until("the release is compiled", async || served.states("stamp").await.contains(&"compiling".to_owned())).await;
    let started = Instant::now();
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    println!("a rollback beside a compilation, a pull and a slow disk took {:?}", started.elapsed());
    assert_eq!(status, 200, "{text}");
    assert!(!compile.is_finished() && !load.is_finished() && is_reading(&served, &large), "it waited");
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"served\"}").await, 0);
    assert_eq!(served.reply().await, stamped_reply(0));
    fs::write(files.join("fast"), "").expect("written");
    assert_eq!(compile.await.expect("no panic").0, 422);
    let (status, text) = load.await.expect("no panic");
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(0));
    drop(connection);
}
