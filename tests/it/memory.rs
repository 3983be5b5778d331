//! The high-water mark is exact, and a cap of N pages refuses page N + 1.

use plimsoll_tests::{Server, TempDir, guests_config};

const PAGE: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn the_high_water_mark_rises_by_the_allocated_pages() {
    let server = Server::start(&guests_config("tester", "")).await;
    let base = server.infer("p", "?do=ok", "").await.high_water("preprocess");
    assert_eq!(base % PAGE, 0);
    // The rise for the first block depends on the free memory that the allocator still has. After it, every page
    // counts.
    let mut marks = Vec::new();
    for pages in [16, 64, 65, 512] {
        let mark = server.infer("p", &format!("?do=alloc&bytes={}", pages * PAGE), "").await.high_water("preprocess");
        marks.push((pages, mark));
    }
    let (first_pages, first) = marks[0];
    assert!(first > base && (first - base).abs_diff(first_pages * PAGE) <= PAGE, "{base} → {marks:?}");
    for (pages, mark) in &marks {
        assert_eq!(mark - first, (pages - first_pages) * PAGE, "{marks:?}");
    }
    let (_, last) = marks[3];
    // The next request gets a fresh instance, so its mark is the base again.
    assert_eq!(server.infer("p", "?do=ok", "").await.high_water("preprocess"), base);
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert_eq!(row["max"], last);
    assert_eq!(row["count"], 6);
}

/// The component has two memories of one page each, and grows them by three and five pages.
#[tokio::test(flavor = "multi_thread")]
async fn two_memories_are_added_up_and_the_cap_is_exact_to_the_page() {
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

    // With one page less than needed, the last growth is refused. The sample already reaches the cap, so the
    // configuration is rejected.
    let message = Server::rejection(&config(9)).await;
    let words = format!(
        "memory_limit: the memory limit (`max_memory`) is {} bytes, but linear memory would need {} bytes",
        9 * PAGE,
        10 * PAGE
    );
    assert!(message.starts_with("test.toml: pipelines.p.preprocess: ") && message.contains(&words), "{message}");
}
