//! The compiled cache: a warm start compiles nothing, and an entry that fails verification is compiled again.

use std::path::PathBuf;

use plimsoll_tests::{Site, stamped_reply};

fn entries(site: &Site) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = site.folder.path().join("own-cache");
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut entries: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .map(|path| (path.clone(), std::fs::read(&path).expect("readable")))
        .collect();
    entries.sort();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_start_compiles_nothing_and_changed_entries_are_compiled_again() {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let rest = text.split_once('\n').expect("lines").1.to_owned();
    plimsoll_tests::replace_file(&site.config, format!("cache_dir = \"own-cache\"\n{rest}")).expect("written");
    site.serve().await.stop().await;
    let good = entries(&site);
    assert_eq!(good.len(), 2, "`stamp` and `noop-infer`");
    let inodes: Vec<_> = good.iter().map(|(path, _)| inode(path)).collect();
    site.serve().await.stop().await;
    assert_eq!(inodes, good.iter().map(|(path, _)| inode(path)).collect::<Vec<_>>(), "a warm start writes nothing");

    // A flipped bit in the code, a flipped bit in the authentication tag, truncated entries, an empty entry, and the
    // bytes of the other entry.
    let (first, second) = (&good[0], &good[1]);
    let flipped = |at: usize| {
        let mut bytes = first.1.clone();
        bytes[at] ^= 1;
        bytes
    };
    let middle = first.1.len() / 2;
    for bad in
        [flipped(middle), flipped(3), first.1[..middle].to_vec(), first.1[..10].to_vec(), Vec::new(), second.1.clone()]
    {
        std::fs::write(&first.0, &bad).expect("written");
        let server = site.serve().await;
        assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
        server.stop().await;
        let now = entries(&site);
        assert_eq!(now.len(), 2);
        assert_ne!(now[0].1, bad, "the entry is compiled again and replaced");
    }
    // Entries that were written with another key are not accepted.
    std::fs::write(site.folder.path().join("own-cache/key"), [7; 32]).expect("written");
    let before = entries(&site);
    site.serve().await.stop().await;
    let after = entries(&site);
    assert!(
        before.iter().zip(&after).all(|((_, before), (_, after))| before != after),
        "all entries are compiled again with this key"
    );
}

fn inode(path: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).expect("there");
    (metadata.ino(), metadata.len())
}
