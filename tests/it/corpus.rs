//! The corpus of valid and abnormal images: each has the outcome that the index names, and none ends in a 5xx.

use std::collections::BTreeMap;

use plimsoll_tests::{Server, guests_config, shared};

#[tokio::test(flavor = "multi_thread")]
async fn every_image_has_the_outcome_in_the_index() {
    let Some(corpus) = shared("corpus") else { return };
    let config = guests_config("tester", "config = { width = 224, height = 224 }")
        .replace("plugin = \"tester\"", "plugin = \"image-preprocess\"");
    let server = Server::start(&config).await;
    let index = std::fs::read_to_string(corpus.join("INDEX.tsv")).expect("an index");
    let mut lines = index.lines();
    let head: Vec<_> = lines.next().expect("a head").split('\t').collect();
    let column = |name: &str| head.iter().position(|field| *field == name).expect("a column");
    let (file, outcome) = (column("file"), column("outcome"));

    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines {
        let fields: Vec<_> = line.split('\t').collect();
        let (file, outcome) = (fields[file], fields[outcome]);
        let body = std::fs::read(corpus.join(file)).expect("listed");
        let reply = server.infer("p", "", body).await;
        let code = reply.code();
        let right = match outcome {
            "must-decode" => reply.status == 200,
            "must-reject" => (400..500).contains(&reply.status),
            _ => reply.status < 500,
        };
        // A message is for the caller: it has no names of the source code, and no image makes the plugin panic.
        let is_plain = ["Unknown(", "Some(", "panic", "Error(", "unwrap"].iter().all(|word| !reply.text.contains(word));
        if !right || reply.status != 200 && !is_plain {
            wrong.push(format!("{file} ({outcome}): {} {}", reply.status, reply.text));
        }
        *table.entry((outcome.to_owned(), code)).or_default() += 1;
        count += 1;
    }
    println!("{:<20} {:<24} files", "outcome in the index", "code");
    for ((outcome, code), files) in &table {
        println!("{outcome:<20} {code:<24} {files}");
    }
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    println!(
        "high-water mark of preprocess for decoded images: p50 {} p99 {} max {}",
        row["p50"], row["p99"], row["max"]
    );
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 400, "{count}");
}
