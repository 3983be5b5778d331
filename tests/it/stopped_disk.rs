//! A disk that has stopped answering, while a component is copied to it, delays no other change.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{stamped, stamped_reply};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::caused_panics::Faulty;
use crate::wrapped::until;

/// A server with version 1 of a plugin, that serves version 2, and whose disk does not finish the copy of version 2.
struct Copying {
    faulty: Arc<Faulty>,
    /// The copy is written when this file is gone.
    waits: PathBuf,
    /// The upload of version 2.
    deployment: JoinHandle<(u16, Value)>,
}

impl Copying {
    async fn start() -> Self {
        let faulty = Arc::new(Faulty::start("", 0));
        let (status, put) = faulty.process.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
        assert_eq!((status, &put["durable"]), (200, &true.into()), "{put}");
        let waits = faulty.fault("copies.wait");
        fs::write(&waits, "").expect("written");
        let deployment = tokio::spawn({
            let faulty = Arc::clone(&faulty);
            async move { faulty.process.json("PUT", "/v1/plugins/stamp?version=2", stamped(2)).await }
        });
        faulty.until_reply(2).await;
        Self { faulty, waits, deployment }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_the_disk_to_which_a_deployment_is_copied() {
    let Copying { faulty, waits, deployment } = Copying::start().await;
    let (status, back) = faulty.process.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &back["version"], &back["durable"]), (200, &"1".into(), &true.into()), "{back}");
    assert_eq!(faulty.process.reply().await, stamped_reply(1));
    assert!(!deployment.is_finished(), "its copy is not written yet");
    fs::remove_file(waits).expect("removed");
    let (status, put) = deployment.await.expect("no panic");
    assert_eq!((status, &put["durable"]), (200, &true.into()), "{put}");
    // The version is a previous one now, so its copy stays.
    let copy = faulty.site.folder.path().join(format!(".plimsoll/components/{}.wasm", digest(&stamped(2))));
    until("the copy", async || copy.is_file()).await;
    assert_eq!(faulty.process.metric("plimsoll_deployments_not_durable").await, 0);
}

/// A change that serves a version whose copy is being written must not say that it is durable: the copy may fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_copy_is_being_written_and_fails_is_not_called_durable() {
    let Copying { faulty, waits, deployment } = Copying::start().await;
    // Each of these changes writes the journal.
    for (to, is_durable) in [(1, true), (2, false)] {
        let path = format!("/v1/plugins/stamp/rollback?to={to}");
        let (status, back) = faulty.process.json("POST", &path, Vec::new()).await;
        assert_eq!((status, &back["durable"]), (200, &is_durable.into()), "{back}");
        assert_eq!(back["warning"].as_str().is_some_and(|it| it.contains("not written yet")), !is_durable, "{back}");
        assert_eq!(faulty.process.reply().await, stamped_reply(to));
    }
    assert!(!deployment.is_finished(), "its copy is not written yet");
    let components = faulty.site.folder.path().join(".plimsoll/components");
    fs::rename(&components, faulty.site.folder.path().join("away")).expect("renamed");
    fs::write(&components, "").expect("a file at the path of the folder");
    fs::remove_file(waits).expect("removed");
    let (status, put) = deployment.await.expect("no panic");
    assert_eq!((status, &put["durable"]), (200, &false.into()), "{put}");
    assert_eq!(faulty.process.metric("plimsoll_deployments_not_durable").await, 1);
    assert_eq!(faulty.process.reply().await, stamped_reply(2));
}
