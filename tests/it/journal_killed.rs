//! The process is killed while it changes versions. No change whose reply said that it is durable is lost, none that is
//! older takes its place, and the journal can always be read.

use std::fs;
use std::time::Duration;

use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};
use serde_json::Value;

use crate::lost_copies::refusal;
use crate::wrapped::{TOKEN, Wrapped, site, until};

/// Numbers that look random, from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Rolls back to a version until the server is gone. Sends the mark of each rollback before it, and after its reply if this
/// says that it is durable.
async fn roll_back(
    address: String,
    mut mark: u32,
    mut numbers: Numbers,
    told: tokio::sync::mpsc::UnboundedSender<(u32, bool)>,
) {
    let client = reqwest::Client::new();
    loop {
        mark = (mark + 1 + numbers.below(3) as u32) % 4;
        let path = format!("http://{address}/v1/plugins/stamp/rollback?to=1.{mark}");
        let _ = told.send((mark, false));
        let Ok(reply) = client.post(path).bearer_auth(TOKEN).send().await else { return };
        let Ok(reply) = reply.json::<Value>().await else { return };
        assert_eq!(reply["version"], format!("1.{mark}"), "{reply}");
        if reply["durable"] == true {
            let _ = told.send((mark, true));
        }
    }
}

fn journal(site: &Site) -> Vec<u8> {
    fs::read(site.folder.path().join(".plimsoll/plugins.json")).expect("a journal")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_confirmed_change_is_lost_when_the_process_is_killed() {
    const ROUNDS: u64 = 10;
    let site = site("");
    fs::rename(site.plugin("stamp.wasm"), site.plugin("stamp@1.0.wasm")).expect("renamed");
    let mut served = Wrapped::start(&["env"], &site);
    for mark in 1..=3 {
        let (status, text) = served.send("PUT", &format!("/v1/plugins/stamp?version=1.{mark}"), stamped(mark)).await;
        assert_eq!(status, 200, "{text}");
    }
    let (mut possible, mut confirmed) = (vec![3], 0);
    for round in 1..=ROUNDS {
        let reply = served.reply().await;
        let mark = *possible
            .iter()
            .find(|mark| stamped_reply(**mark) == reply)
            .unwrap_or_else(|| panic!("round {round}: {reply} serves, and not one of {possible:?}: {}", served.log()));
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ round);
        let pause = Duration::from_micros(numbers.below(40_000));
        let (told, mut told_of) = tokio::sync::mpsc::unbounded_channel();
        let changes = tokio::spawn(roll_back(served.address().to_owned(), mark, numbers, told));
        let mut before = Vec::new();
        until("a confirmed change", async || {
            before.extend(std::iter::from_fn(|| told_of.try_recv().ok()));
            before.iter().any(|(_, is_durable)| *is_durable)
        })
        .await;
        tokio::time::sleep(pause).await;
        // SIGKILL.
        drop(served);
        changes.await.expect("no panic");
        before.extend(std::iter::from_fn(|| told_of.try_recv().ok()));
        // The last confirmed change, or one that was sent after it.
        let last = before.iter().rposition(|(_, is_durable)| *is_durable).expect("one was confirmed");
        confirmed += before.iter().filter(|(_, is_durable)| *is_durable).count();
        possible = before[last..].iter().map(|(mark, _)| *mark).collect();
        assert!(possible.len() <= 2, "{before:?}");
        let recorded = journal_state(&journal(&site))["plugins"]["stamp"]["serving"]["version"].clone();
        assert!(possible.iter().any(|mark| recorded == format!("1.{mark}")), "{recorded} {possible:?}");
        served = Wrapped::start(&["env"], &site);
        // All four versions are still known.
        let mut versions = served.states("stamp").await;
        versions.sort();
        assert_eq!(versions, ["previous", "previous", "previous", "serving"], "round {round}");
    }
    println!("{confirmed} confirmed changes, {ROUNDS} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused_and_writes_nothing() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let before = journal(&site);
    let log = refusal(&["env"], &site);
    assert!(log.contains("is in use by another process"), "{log}");
    assert_eq!(journal(&site), before);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
    drop(served);
    assert_eq!(Wrapped::start(&["env"], &site).reply().await, stamped_reply(1));
}
