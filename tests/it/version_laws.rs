//! The order of versions is a total order. For versions of Semantic Versioning 2.0 it is the order defined there.

use std::cmp::Ordering;

use plimsoll::deploy::version_order::VersionOrder;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use semver::Version;

const CASES: u32 = 20_000;

fn runner() -> TestRunner {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Parts of pre-releases that are easily equal or nearly equal. SemVer numbers have no leading zero.
fn word() -> impl Strategy<Value = String> {
    prop_oneof!["(0|[1-9][0-9]{0,2})", "[1-9][0-9]{18,22}", "(alpha|beta|rc|rc2|rc10|a-b|-|0a|A|1-1)", "[a-c-]{1,2}"]
}

fn words(prefix: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        proptest::collection::vec(word(), 1..4).prop_map(move |words| format!("{prefix}{}", words.join(".")))
    ]
}

fn semver() -> impl Strategy<Value = String> {
    ("(0|[1-9][0-9]?)", "(0|[1-9][0-9]?)", "(0|10|9|2)", words("-"), words("+"))
        .prop_map(|(major, minor, patch, pre, build)| format!("{major}.{minor}.{patch}{pre}{build}"))
}

/// Versions of all kinds that have an order.
fn version() -> impl Strategy<Value = String> {
    prop_oneof![
        semver(),
        ("[vV]?", "(0|1|9|10|007)(\\.(0|1|9|10|010)){0,4}", words("-"), words("+"))
            .prop_map(|(v, numbers, pre, build)| format!("{v}{numbers}{pre}{build}")),
        "20(25|26)-(09|11|12)-(0[1-9]|27)",
        "20(25|26)\\.(9|11|12)\\.(1|27)",
    ]
}

fn order(version: &str) -> VersionOrder {
    VersionOrder::parse(version).unwrap_or_else(|| panic!("`{version}` has no order"))
}

#[test]
fn the_order_of_versions_is_total_antisymmetric_and_transitive() {
    let laws = |(a, b, c): (String, String, String)| {
        let [x, y, z] = [&a, &b, &c].map(|version| order(version));
        prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse(), "{} {}", a, b);
        prop_assert_eq!(x.partial_cmp(&y), Some(x.cmp(&y)));
        prop_assert_eq!(x == y, x.cmp(&y) == Ordering::Equal, "{} {}", a, b);
        let mut sorted = [x, y, z];
        sorted.sort();
        let [low, middle, high] = sorted;
        prop_assert!(low <= middle && middle <= high && low <= high, "{} {} {}", a, b, c);
        prop_assert_eq!(low == high, low == middle && middle == high, "{} {} {}", a, b, c);
        Ok(())
    };
    runner().run(&(version(), version(), version()), laws).expect("the laws hold");
}

#[test]
fn semantic_versions_are_ordered_by_their_precedence() {
    let mut seen = [0_u32; 3];
    let agrees = |(a, b): (String, String)| {
        // Half of the pairs have the same numbers, so that the pre-release decides.
        let same = format!(
            "{}{}",
            a.split(['-', '+']).next().unwrap_or_default(),
            &b[b.find(['-', '+']).unwrap_or(b.len())..]
        );
        for b in [b, same] {
            // The crate has 64-bit numbers. It compares longer numbers of pre-releases correctly, by their digits.
            let (x, y) = (Version::parse(&a).expect("SemVer"), Version::parse(&b).expect("SemVer"));
            let (expected, found) = (x.cmp_precedence(&y), order(&a).cmp(&order(&b)));
            seen[match expected {
                Ordering::Less => 0,
                Ordering::Equal => 1,
                Ordering::Greater => 2,
            }] += 1;
            // The build metadata has no precedence there; here it decides between equal ones.
            let is_right = if expected == Ordering::Equal { found == x.build.cmp(&y.build) } else { found == expected };
            prop_assert!(is_right, "{} and {}: {:?}, but SemVer says {:?}", a, b, found, expected);
        }
        Ok(())
    };
    let agrees = std::cell::RefCell::new(agrees);
    runner().run(&(semver(), semver()), |pair| (agrees.borrow_mut())(pair)).expect("the precedence of SemVer");
    assert!(seen.iter().all(|count| *count > CASES / 100), "every order is among the cases: {seen:?}");
}
