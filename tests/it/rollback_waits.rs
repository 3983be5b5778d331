//! A rollback waits neither for an upload of another plugin, nor for the disk with which another change is being stored.
//! A FIFO in place of a file of the data folder is a disk that does not answer: opening it does not return.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::durable_removal::replace_by_a_copy;
use crate::wrapped::{Wrapped, site, until};

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

/// A site and its server, with the marks 0 and 1 of `stamp`.
async fn served() -> (Site, Arc<Wrapped>) {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(1));
    (site, Arc::new(served))
}

fn data(site: &Site, name: &str) -> PathBuf {
    site.folder.path().join(".plimsoll").join(name)
}

/// Sends a request in the background.
fn send(
    served: &Arc<Wrapped>,
    method: &'static str,
    path: &'static str,
    body: Vec<u8>,
) -> tokio::task::JoinHandle<(u16, Value)> {
    let served = Arc::clone(served);
    tokio::spawn(async move { served.json(method, path, body).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_effect_while_the_disk_does_not_confirm_other_changes() {
    let (site, served) = served().await;
    fifo(&data(&site, "plugins.draft"));
    replace_by_a_copy(&data(&site, "plugins.json"));
    // From here on no state can be written: it is not appended to another file.
    let deploy = send(&served, "PUT", "/v1/plugins/other", stamped(5));
    until("the other plugin", async || served.states("other").await == ["unused"]).await;
    let rollback = send(&served, "POST", "/v1/plugins/stamp/rollback", Vec::new());
    until("the rollback", async || served.reply().await == stamped_reply(0)).await;
    // The replies do not say that the changes are durable.
    for (change, version) in [(deploy, "unversioned"), (rollback, "unversioned")] {
        let (status, reply) = change.await.expect("no panic");
        assert_eq!((status, &reply["version"], &reply["durable"]), (200, &version.into(), &false.into()), "{reply}");
        assert!(reply["warning"].as_str().expect("text").contains("has not confirmed"), "{reply}");
    }
    // Other changes go on, too.
    let (status, reply) = served.json("DELETE", "/v1/plugins/other", Vec::new()).await;
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    let journal = || journal_state(&fs::read(data(&site, "plugins.json")).expect("there"));
    let before = journal();
    assert_eq!(before["plugins"]["stamp"]["serving"]["digest"], digest(&stamped(1)), "nothing was written");

    // The disk answers again, with an error: nothing can be synchronised to a FIFO. The server tries it again.
    let draft = data(&site, "plugins.draft");
    let reader = std::thread::spawn(move || fs::read(draft).expect("read"));
    let is_written = async || journal()["plugins"]["stamp"]["serving"]["digest"] == digest(&stamped(0));
    until("the journal", is_written).await;
    reader.join().expect("no panic");
    drop(Arc::into_inner(served).expect("alone"));
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0), "the rollback is remembered");
    assert_eq!(served.states("other").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_the_copy_of_another_component() {
    let (site, served) = served().await;
    let other = stamped(5);
    // The copy that is written before the change has one of these names.
    (0..20).for_each(|number| fifo(&data(&site, &format!("{}-{number}.draft", digest(&other)))));
    let deploy = send(&served, "PUT", "/v1/plugins/other", other);
    until("the other release", async || served.states("other").await == ["compiling"]).await;
    let (status, reply) = served.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(0));
    assert!(!deploy.is_finished(), "the copy was written, so this test proves nothing");
    deploy.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_an_upload_of_the_same_plugin() {
    let (site, served) = served().await;
    let token = fs::read_to_string(site.folder.path().join("token")).expect("text");
    let component = stamped(2);
    let mut upload = TcpStream::connect(served.address()).await.expect("connected");
    let head = format!(
        "PUT /v1/plugins/stamp?version=2 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        token.trim(),
        component.len()
    );
    upload.write_all(head.as_bytes()).await.expect("sent");
    let (first, rest) = component.split_at(component.len() / 2);
    upload.write_all(first).await.expect("sent");
    let (status, reply) = served.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(0));
    // The upload is complete after the rollback, so it serves.
    upload.write_all(rest).await.expect("sent");
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(served.reply().await, stamped_reply(2));
}
