//! A million requests, half of them malformed, while plugins are deployed, rolled back and reloaded:
//! `cargo bench --bench soak`. The number of requests can be set, `PLIMSOLL_SOAK=100000`, and the
//! number of requests between two changes, `PLIMSOLL_SOAK_EVERY=1000`. `PLIMSOLL_SOAK_WITHOUT=deadline,trap` leaves out
//! kinds of requests.
//!
//! Before that, a fifth as many requests without changes show what malformed requests cost the good ones. The aim is a p99
//! of good requests of at most 1.5 times that of a quiet server.
//!
//! Fails if a reply is not the right one for its request.

use std::path::Path;

use plimsoll_tests::bench::{Table, measures};
use plimsoll_tests::soak::Soak;

#[tokio::main]
async fn main() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let requests = number("PLIMSOLL_SOAK").unwrap_or(1_000_000);
    let requests = if measures() { requests } else { 2_000 };
    let change_every = number("PLIMSOLL_SOAK_EVERY").unwrap_or((requests / 200).max(100));
    let soak = Soak { requests, clients: 16, seed: 1, change_every };
    let report = soak.run(Path::new(env!("CARGO_BIN_EXE_plimsoll-under-test"))).await;
    for (kind, count) in &report.counts {
        println!("{count:>9} {kind}");
    }
    for (tenth, (resident, slots)) in report.resident.iter().zip(&report.unused_slots).enumerate() {
        println!(
            "{:>9} requests: resident {:.2} MiB, {:.2} MiB of them in unused slots of the instance pool",
            requests / 10 * (tenth as u64 + 1),
            mib(*resident as f64),
            mib(*slots as f64)
        );
    }
    let figures = [
        ("requests", 0),
        ("changes", 0),
        ("unexpected", 0),
        ("grown KiB", 0),
        ("in slots KiB", 0),
        ("quiet p99 ms", 2),
        ("attacked p99 ms", 2),
        ("p99 ms", 2),
        ("s", 0),
    ];
    let mut table = Table::new("soak", &[("soak", 10)], &figures);
    table.row(
        &["mixed"],
        &[
            requests as f64,
            report.changes as f64,
            report.unexpected_count as f64,
            report.growth() as f64 / 1024.0,
            report.growth_of_slots() as f64 / 1024.0,
            report.quiet_p99,
            report.attacked_p99,
            report.mixed_p99,
            report.seconds,
        ],
    );
    table.end(
        "resident memory after the last tenth against the second; p99 of good requests alone, beside malformed ones, and \
         beside malformed ones and changes",
    );
    assert!(report.unexpected.is_empty(), "{:#?}", report.unexpected);
    println!(
        "p99 of good requests beside malformed ones: {:.2} times the quiet one; the aim is 1.5",
        report.slowdown()
    );
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
