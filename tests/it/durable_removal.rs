//! The removal of a plugin that a restart would forget.

use std::fs;
use std::path::Path;

use plimsoll_tests::stamped;

use crate::durable::{data, fill, on_a_small_disk};

/// Puts a copy in the place of a file, as a backup that is restored. The server writes the whole journal with the next
/// change then, which needs room, unlike a change that fits into the last block of a file. The old file stays under another
/// name, so that its room does not become free.
pub(crate) fn replace_by_a_copy(path: &Path) {
    fs::hard_link(path, path.with_extension("old")).expect("linked");
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).expect("copied");
    fs::rename(copy, path).expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_a_restart_would_forget_gets_a_warning() {
    let Some((site, served)) = on_a_small_disk("") else { return };
    for (name, is_durable) in [("one", true), ("two", false)] {
        let path = format!("/v1/plugins/{name}");
        let (status, reply) = served.json("PUT", &path, stamped(1)).await;
        assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
        if !is_durable {
            replace_by_a_copy(&data(&site, &served, "plugins.json"));
            fill(&data(&site, &served, "filling"));
        }
        let (status, reply) = served.json("DELETE", &path, Vec::new()).await;
        assert_eq!((status, &reply["state"]), (200, &"retired".into()), "{reply}");
        assert_eq!(reply["durable"], is_durable, "{reply}");
        assert_eq!(
            reply["warning"].as_str().is_some_and(|text| text.contains("No space left")),
            !is_durable,
            "{reply}"
        );
    }
}
