//! A server writes to its data folder and nowhere else, so it runs where everything else is read-only: a container with
//! `readOnlyRootFilesystem`, a unit with `ProtectSystem=strict`, a full `/tmp`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use plimsoll_tests::{Site, guest, stamped, stamped_reply};

use crate::wrapped::{Wrapped, can_run, in_mounts, site, until};

/// A site whose compiled cache is in its data folder.
fn own_cache() -> Site {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.split_once('\n').expect("lines").1).expect("written");
    let token = site.folder.path().join("token");
    fs::set_permissions(token, fs::Permissions::from_mode(0o600)).expect("set");
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_outside_the_data_folder() {
    let site = own_cache();
    // Every mount that could be written to is read-only, except the data folder.
    let setup = "mkdir .plimsoll; mount -t tmpfs none .plimsoll; \
                 for at in $(cut -d' ' -f5 /proc/self/mountinfo | sort -u | grep -v -e '/\\.plimsoll$' -e ^/proc -e ^/sys); do \
                   mount -o remount,bind,ro \"$at\" 2>/dev/null || true; done; \
                 for at in . /tmp /dev/shm; do if touch $at/x 2>/dev/null; then echo writable $at >&2; exit 9; fi; done";
    let wrapper = in_mounts(setup);
    if !can_run(&in_mounts("true")) {
        return;
    }
    let served = Wrapped::start(&wrapper, &site);
    assert_eq!(served.reply().await, stamped_reply(0));
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    let noop = fs::read(guest("noop-infer")).expect("built");
    let (status, reply) = served.json("PUT", "/v1/plugins/other?version=1", noop).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(1));
    let (status, reply) = served.json("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(0));
    until("the log", async || served.log().contains("\"rollback\"")).await;
    let log = served.log();
    let complaints: Vec<_> =
        log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).collect();
    assert_eq!(complaints, [""; 0]);
    assert!(!log.contains("Read-only file system"), "{log}");
}
