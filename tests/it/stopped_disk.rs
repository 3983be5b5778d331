//! A disk that has stopped answering, while a component is copied to it, delays no other change.

use std::fs;
use std::sync::Arc;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{stamped, stamped_reply};

use crate::caused_panics::Faulty;
use crate::wrapped::{Wrapped, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_the_disk_to_which_a_deployment_is_copied() {
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

/// A change that finds the copy of its component being written must not say that it is durable: the copy may fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_copy_is_being_written_and_fails_is_not_called_durable() {
    let faulty = Arc::new(Faulty::start("", 0));
    let waits = faulty.fault("copies.wait");
    fs::write(&waits, "").expect("written");
    let put = |faulty: Arc<Faulty>| async move {
        faulty.process.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await
    };
    let first = tokio::spawn(put(Arc::clone(&faulty)));
    faulty.until_reply(1).await;
    // The journal is written meanwhile, by another change.
    let (status, other) = faulty.process.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &other["durable"]), (200, &false.into()), "{other}");
    assert!(other["warning"].as_str().expect("text").contains("not written yet"), "{other}");
    assert!(!first.is_finished(), "its copy is not written yet");

    let components = faulty.site.folder.path().join(".plimsoll/components");
    let away = faulty.site.folder.path().join("away");
    fs::rename(&components, &away).expect("renamed");
    fs::write(&components, "").expect("a file at the path of the folder");
    fs::remove_file(&waits).expect("removed");
    let (status, reply) = first.await.expect("no panic");
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    let (_, again) = put(Arc::clone(&faulty)).await;
    assert_eq!(again["durable"], false, "{again}");
    assert_eq!(faulty.process.metric("plimsoll_deployments_not_durable").await, 1);

    fs::remove_file(&components).expect("removed");
    fs::rename(&away, &components).expect("renamed");
    faulty.process.wait_for_metric("plimsoll_deployments_not_durable", 0).await;
    let (_, last) = put(Arc::clone(&faulty)).await;
    assert_eq!(last["durable"], true, "{last}");
    let Faulty { site, process } = Arc::into_inner(faulty).expect("the only one");
    drop(process);
    assert_eq!(Wrapped::start(&["env"], &site).reply().await, stamped_reply(1));
}
