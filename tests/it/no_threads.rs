//! A host that can start no thread says so, and goes on when it can again.

use std::process::Command;

use plimsoll_tests::{stamped, stamped_reply};

use crate::lost_copies::{OTHER, as_user};
use crate::wrapped::{Wrapped, is_root, site, until};

/// Sets the soft limit of threads of a running process. Only its own user may do that.
fn limit(served: &Wrapped, limit: &str) {
    let (id, pid) = (OTHER.to_string(), served.pid());
    let other = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    let user: &[&str] = if is_root() { &other } else { &["env"] };
    let words = [user, &["prlimit", "--pid", &pid, limit]].concat();
    assert!(Command::new(words[0]).args(&words[1..]).status().expect("it starts").success());
}

/// Files are read by threads of their own. The watcher must not panic, and an upload is not to blame.
#[tokio::test(flavor = "multi_thread")]
async fn files_and_uploads_wait_until_threads_can_be_started_again() {
    let site = site("");
    let Some(wrapper) = as_user(&site) else { return };
    let served = Wrapped::start(&wrapper, &site);
    served.wait_for_scan(&site, "scan").await;
    limit(&served, "--nproc=1:");
    site.drop_in("stamp.wasm", &stamped(2));
    served.wait_for_failed_scans(3).await;
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["code"]), (503, &"overloaded".into()), "{reply}");
    assert!(reply["detail"].as_str().expect("text").contains("threads (`ulimit -u`"), "{reply}");
    for _ in 0..8 {
        assert_eq!(served.reply().await, stamped_reply(0), "requests need no new threads");
    }
    limit(&served, "--nproc=4000:");
    until("the file", async || served.reply().await == stamped_reply(2)).await;
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.metric("plimsoll_panics_total").await, 0, "{}", served.log());
}
