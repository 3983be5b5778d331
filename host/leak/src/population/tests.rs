use std::collections::BTreeMap;

use super::*;

fn trend(counts: &[u64], born: &[u64]) -> Trend {
    Population { counts: counts.to_vec(), born: born.to_vec() }.trend()
}

#[test]
fn a_population_leaks_if_the_same_number_of_each_round_is_left() {
    let rising = [0, 10, 20, 30, 40, 50, 60, 70, 80];
    assert_eq!(trend(&rising, &[0, 10, 10, 10, 10, 10, 10, 10, 10]), Trend::Leaks);
    let beside_a_queue = [0, 30, 50, 40, 60, 70, 65, 95, 90];
    assert!(trend(&beside_a_queue, &[0, 10, 10, 10, 10, 10, 10, 10, 20]).leaks(), "beside a queue");
    assert_eq!(trend(&rising, &[0, 0, 0, 0, 0, 0, 0, 0, 80]), Trend::Bounded, "a queue that is emptied");
    assert!(!trend(&rising, &[0, 0, 0, 0, 1, 3, 9, 23, 44]).leaks(), "random eviction");
    let full = [0, 24, 48, 72, 96, 120, 128, 128, 128];
    assert_eq!(trend(&full, &[0, 0, 0, 8, 24, 24, 24, 24, 24]), Trend::Bounded, "a cache that is full");
    let full = [0, 30, 60, 80, 80, 80, 80, 80, 81];
    assert_eq!(trend(&full, &[0, 2, 3, 4, 5, 7, 12, 17, 31]), Trend::Bounded, "a full cache with random eviction");
    let slower = [0, 400, 700, 900, 1_040, 1_140, 1_210, 1_260, 1_300];
    assert_eq!(trend(&slower, &[0, 400, 300, 200, 140, 100, 70, 50, 40]), Trend::Bounded, "all keys are seen");
    assert!(!trend(&[5, 5, 5, 5, 5, 5, 5, 5, 6], &[4, 0, 0, 0, 0, 0, 0, 0, 2]).leaks(), "one block");
    assert!(!trend(&[0, 1, 2, 2, 3, 3, 3, 3, 4], &[0, 1, 1, 0, 1, 0, 0, 0, 1]).leaks(), "logarithmic");
}

#[test]
fn what_begins_late_is_open_and_counts_as_a_leak_if_nothing_was_lost_before() {
    let late = [0, 0, 0, 0, 0, 10, 20, 30, 40];
    assert_eq!(trend(&late, &[0, 0, 0, 0, 0, 10, 10, 10, 10]), Trend::Open { leaks: true });
    // In the last quarter, beside blocks that were there before and stay.
    let later = [7, 7, 7, 7, 7, 7, 7, 17, 27];
    assert_eq!(trend(&later, &[7, 0, 0, 0, 0, 0, 0, 10, 10]), Trend::Open { leaks: true });
    let replaced = [7, 7, 7, 7, 7, 7, 7, 17, 27];
    assert_eq!(trend(&replaced, &[0, 0, 0, 0, 0, 0, 0, 5, 22]), Trend::Bounded, "none of the old ones is left");
    let emptied = [0, 10, 20, 30, 40, 50, 0, 20, 40];
    assert_eq!(trend(&emptied, &[0, 0, 0, 0, 0, 0, 0, 20, 20]), Trend::Bounded, "a queue");
    let emptied = [0, 10, 20, 30, 0, 10, 20, 30, 40];
    assert_eq!(trend(&emptied, &[0, 0, 0, 0, 0, 10, 10, 10, 10]), Trend::Open { leaks: false });
}

#[test]
fn a_size_and_the_same_size_with_a_rest_are_one_population() {
    let round = |small: u64, large: u64| BTreeMap::from([(100, small), (116, large)]);
    let rounds: Vec<_> = [(0, 0), (9, 1), (14, 6), (23, 7), (24, 16), (33, 17), (34, 26), (43, 27), (44, 36)]
        .map(|(small, large)| round(small, large))
        .to_vec();
    let births = [(9, 1), (5, 5), (9, 1), (1, 9), (9, 1), (1, 9), (9, 1), (1, 9)];
    let survivors: Vec<_> = births
        .iter()
        .enumerate()
        .flat_map(|(at, &(small, large))| [vec![(100, at + 1); small], vec![(116, at + 1); large]].concat())
        .collect();
    let leaking: Vec<_> =
        by_size(&rounds, &survivors).into_iter().filter(|(_, population)| population.trend() == Trend::Leaks).collect();
    assert!(leaking.iter().any(|(sizes, _)| *sizes == (100..117)), "{leaking:?}");
}
