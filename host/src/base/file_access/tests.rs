use std::sync::mpsc::{Sender, channel};

use super::blocked::MAX_OF_ONE_PATH;
use super::no_answer::MAX_BLOCKED;
use super::*;

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

/// An access that is blocked until the sender is dropped.
fn block(path: &str) -> (io::Result<()>, Sender<()>) {
    let (release, released) = channel::<()>();
    let result = limited(Path::new(path), SHORT, LEAST_TIME, move || {
        let _ = released.recv();
        Ok(())
    });
    (result, release)
}

fn wait_until_unblocked(path: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while lock().values().any(|other| other.path == Path::new(path)) {
        assert!(Instant::now() < end, "{path} stays blocked");
        thread::sleep(Duration::from_millis(1));
    }
}

/// One test, because the blocked calls are shared by the process.
#[test]
fn blocked_calls_are_abandoned_limited_and_forgotten_when_they_return() {
    // It takes the places of all accesses, so it runs in a process of its own: other tests read files.
    const NAME: &str = "base::file_access::tests::blocked_calls_are_abandoned_limited_and_forgotten_when_they_return";
    const ALONE: &str = "PLIMSOLL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let program = std::env::current_exe().expect("a path");
        let run =
            std::process::Command::new(program).args(["--exact", NAME]).env(ALONE, "1").output().expect("started");
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let read = |path: &str| limited(Path::new(path), LONG, LEAST_TIME, || Ok(7));
    let (blocked, release) = block("one");
    assert_eq!(blocked.expect_err("no answer").kind(), io::ErrorKind::TimedOut);
    let again = read("one").expect_err("refused");
    assert!(again.to_string().contains("still blocked"), "{again}");
    assert_eq!(read("two").expect("another path"), 7);
    drop(release);
    wait_until_unblocked("one");
    assert_eq!(read("one").expect("it returned"), 7);

    // A path on which something was replaced is tried again, but not for ever.
    let folder = std::env::temp_dir().join(format!("plimsoll-blocked-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).expect("made");
    let link = folder.join("link");
    let name = link.to_str().expect("text");
    let replace = |target: usize| {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target.to_string(), &link).expect("linked");
    };
    let blocked: Vec<_> = (0..MAX_OF_ONE_PATH)
        .map(|target| {
            replace(target);
            let (blocked, release) = block(name);
            assert_eq!(blocked.expect_err("no answer").kind(), io::ErrorKind::TimedOut);
            let again = read(name).expect_err("refused");
            assert!(again.to_string().contains("still blocked"), "{again}");
            if target == 1 {
                replace(100);
                assert_eq!(read(name).expect("it leads elsewhere"), 7);
            }
            release
        })
        .collect();
    replace(MAX_OF_ONE_PATH);
    assert!(read(name).expect_err("too many").to_string().contains("still blocked"));
    drop(blocked);
    wait_until_unblocked(name);
    assert_eq!(read(name).expect("all returned"), 7);
    std::fs::remove_dir_all(&folder).expect("removed");

    let paths: Vec<_> = (0..MAX_BLOCKED).map(|number| format!("blocked-{number}")).collect();
    let all: Vec<_> = paths.iter().map(|path| block(path).1).collect();
    let refused = read("two").expect_err("refused").to_string();
    assert!(refused.contains("16 accesses") && refused.contains("blocked-0"), "{refused}");
    assert_eq!(blocked_count(&paths), MAX_BLOCKED);
    // Keys and certificates have a share of their own, which is limited, too.
    assert_eq!(with_own_share(|| read("key")).expect("another share"), 7);
    let own_paths: Vec<_> = (0..MAX_BLOCKED).map(|number| format!("own-{number}")).collect();
    let all_own: Vec<_> = with_own_share(|| own_paths.iter().map(|path| block(path).1).collect());
    let refused = with_own_share(|| read("key")).expect_err("refused").to_string();
    assert!(refused.contains("16 accesses") && refused.contains("own-0"), "{refused}");
    drop(all_own);
    own_paths.iter().for_each(|path| wait_until_unblocked(path));
    assert!(read("two").is_err(), "the other share is still full");
    drop(all);
    paths.iter().for_each(|path| wait_until_unblocked(path));
    assert_eq!(read("two").expect("there is room again"), 7);

    // After one that has not answered, the others of a scan are waited for only shortly.
    let is_in_haste = || HAS_STALLED.get() == Some(true);
    let release = in_haste(|| {
        assert!(!is_in_haste());
        let release = block("stalled").1;
        assert!(in_haste(is_in_haste), "the inner one belongs to the same scan");
        release
    });
    assert!(!is_in_haste(), "the next scan is patient again");
    drop(release);
    wait_until_unblocked("stalled");

    let second = Duration::from_secs(1);
    let drip = |patience: Duration, pause: Duration, count: u32, least_time: Duration| {
        limited(Path::new("drip"), patience, least_time, move || {
            for _ in 0..count {
                thread::sleep(pause);
                note_progress(1)?;
            }
            Ok(())
        })
    };
    drip(second * 2, second / 2, 5, LEAST_TIME).expect("each byte is progress");
    let slow = drip(second, second / 50, 500, second).expect_err("too slow").to_string();
    assert!(slow.contains("read too slowly"), "{slow}");
    wait_until_unblocked("drip");

    let panicked = limited(Path::new("panic"), LONG, LEAST_TIME, || -> io::Result<()> { panic!("in a test") });
    let panicked = panicked.expect_err("panicked").to_string();
    assert!(panicked.contains("panicked"), "{panicked}");
    // Calls inside of calls need no further thread.
    let outer = limited(Path::new("outer"), LONG, LEAST_TIME, || {
        let outer = thread::current().id();
        within_time(Path::new("inner"), move || Ok(thread::current().id() == outer))
    });
    assert!(outer.expect("read"));
}

fn blocked_count(paths: &[String]) -> usize {
    lock().values().filter(|blocked| paths.iter().any(|path| Path::new(path) == blocked.path)).count()
}
