use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// A destination for tests. Each step is a number of bytes to write, or an error.
struct Scripted {
    steps: Receiver<Result<usize, io::ErrorKind>>,
    written: Sender<String>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.steps.recv().map_err(io::Error::other)??.min(bytes.len());
        let _ = self.written.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Steps = Sender<Result<usize, io::ErrorKind>>;

/// A queue whose writer takes the result of each write from `steps`. Reports of lost lines are added to it as
/// lines, as in the log.
fn queue() -> (&'static LineQueue, Steps, Receiver<String>) {
    let queue: &'static LineQueue = Box::leak(Box::new(LineQueue::new()));
    let (step, steps) = channel();
    let (written, texts) = channel();
    let out = Scripted { steps, written };
    std::thread::spawn(move || {
        queue.write_to(out, |lost| queue.push(format!("{lost} lost\n").as_bytes(), Source::Audit))
    });
    (queue, step, texts)
}

const ALL: Result<usize, io::ErrorKind> = Ok(usize::MAX);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn without_room_lines_are_dropped_counted_and_reported_once_there_is_room() {
    let (queue, step, texts) = queue();
    queue.push(b"first\n", Source::Audit);
    // The writer has taken the first line and waits for its reader.
    while queue.lock().taken == 0 {
        std::thread::yield_now();
    }
    let line = vec![b'x'; LIMIT / 4 - 10].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    for _ in 0..7 {
        queue.push(&line, Source::Audit);
    }
    assert_eq!(queue.dropped(), 3);
    assert!(!queue.flush(Duration::from_millis(5), LONG), "nothing is read");
    for _ in 0..7 {
        step.send(ALL).expect("a writer");
    }
    assert!(queue.flush(LONG, LONG));
    let texts: Vec<String> = texts.iter().take(6).collect();
    assert_eq!(texts[0], "first\n");
    assert!(texts[1..5].iter().all(|text| text.len() == line.len()), "the lines that fit");
    assert_eq!(texts[5], "3 lost\n");
    assert_eq!(queue.dropped(), 3);
}

#[test]
fn the_lines_of_plugins_and_requests_leave_room_for_the_audit_log() {
    let queue = LineQueue::new();
    let line = [b'x'; 1_023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    for (source, fit) in [(Source::Guest, 512), (Source::Host, 448), (Source::Audit, 64)] {
        let before = (queue.lock().waiting.len(), queue.dropped());
        (0..600).for_each(|_| queue.push(&line, source));
        assert_eq!(queue.lock().waiting.len() - before.0, fit * line.len(), "{source:?}");
        assert_eq!(queue.dropped() - before.1, 600 - fit as u64, "{source:?}");
    }
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_a_cut_line_is_ended() {
    let (queue, step, texts) = queue();
    for (lines, steps) in [
        ("one\ntwo\n", vec![Ok(2), Err(io::ErrorKind::StorageFull)]),
        ("three\n", vec![Err(io::ErrorKind::BrokenPipe)]),
        ("four\n", vec![Err(io::ErrorKind::WouldBlock), Err(io::ErrorKind::Interrupted), ALL, ALL, ALL]),
    ] {
        queue.push(lines.as_bytes(), Source::Audit);
        steps.into_iter().for_each(|it| step.send(it).expect("a writer"));
        assert!(queue.flush(LONG, LONG));
    }
    assert_eq!(texts.iter().take(4).collect::<String>(), "on\nfour\n3 lost\n");
    assert_eq!(queue.dropped(), 3);
}

#[test]
fn a_piece_is_some_whole_lines() {
    let line = |length: usize| "x".repeat(length - 1) + "\n";
    assert_eq!(piece((line(10) + &line(20)).as_bytes()), 30);
    assert_eq!(piece((line(10) + &line(20) + &line(5000)).as_bytes()), 30);
    assert_eq!(piece((line(5000) + &line(10)).as_bytes()), 5000);
    assert_eq!(piece("x".repeat(5000).as_bytes()), 5000);
}
