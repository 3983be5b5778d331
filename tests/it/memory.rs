//! The high-water mark is exact, and a cap of N refuses N + 1 page.

use plimsoll_tests::{Server, TempDir, guests_config};

const PAGE: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_rises_by_what_is_allocated() {
    let server = Server::start(&guests_config("tester", "")).await;
    let base = server.infer("p", "?do=ok", "").await.high_water("preprocess");
    assert_eq!(base % PAGE, 0);
    let mut last = base;
    for pages in [16_u64, 64, 512] {
        let bytes = pages * PAGE;
        let mark = server.infer("p", &format!("?do=alloc&bytes={bytes}"), "").await.high_water("preprocess");
        // The allocator adds its own header, and keeps its granularity: one page at most.
        assert!((bytes..=bytes + 2 * PAGE).contains(&(mark - base)) || mark - base >= bytes - PAGE, "{mark} - {base}");
        assert!(mark - base <= bytes + 2 * PAGE, "{mark} - {base} for {bytes}");
        assert!(mark > last);
        last = mark;
    }
    // A fresh instance: the next request is at the base again.
    assert_eq!(server.infer("p", "?do=ok", "").await.high_water("preprocess"), base);
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert_eq!(row["max"], last);
    assert_eq!(row["count"], 5);
}

/// A component in text with two memories of one page each, which grows them by three and five pages.
#[tokio::test(flavor = "multi_thread")]
async fn two_memories_are_summed_and_the_cap_is_exact_to_the_page() {
    let folder = TempDir::new().expect("a folder");
    let text = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/two-memories.wat");
    let file = folder.path().join("two-memories.wasm");
    std::fs::write(&file, wat::parse_file(text).expect("valid text")).expect("written");
    let config = |pages: u64| {
        guests_config("tester", &format!("max_memory = {}", pages * PAGE))
            .replace("[plugins.tester]\nfile = ", "[plugins.unused]\nfile = ")
            .replace("plugin = \"tester\"", "plugin = \"two-memories\"")
            + &format!("[plugins.two-memories]\nfile = {file:?}\n")
    };
    let server = Server::start(&config(10)).await;
    let reply = server.infer("p", "", "").await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{}", reply.text);
    assert_eq!(reply.high_water("preprocess"), 10 * PAGE, "1 + 3 and 1 + 5 pages");
    let row = server.memory_row("preprocess", "invalid_input").await.expect("a row");
    assert_eq!(
        (&row["initial"], &row["max"], &row["grown_max"]),
        (&(2 * PAGE).into(), &(10 * PAGE).into(), &(8 * PAGE).into())
    );

    // One page less than it needs: the last growth is refused, and what it held before is the mark.
    let server = Server::start(&config(9)).await;
    let reply = server.infer("p", "", "").await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "memory_limit"), "{}", reply.text);
    let problem = reply.json();
    assert_eq!(problem["limit_bytes"], 9 * PAGE);
    assert_eq!(problem["high_water_bytes"], 5 * PAGE);
    assert_eq!(server.memory_row("preprocess", "memory_limit").await.expect("a row")["refused_growths"], 1);
}
