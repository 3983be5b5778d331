//! The order of versions: which of two versions is the newer one.
//!
//! Numbers are compared as numbers, also if one version has fewer of them (`1.10` is newer than `1.9`, and `1` equals
//! `1.0.0`). A leading `v` does not count. A pre-release is older than its release, and pre-releases are compared as in
//! [Semantic Versioning](https://semver.org/#spec-item-11): `rc.10` is newer than `rc.2`, but `rc10` is not newer than
//! `rc2`. The build metadata, which has no precedence there, decides between versions that are equal otherwise. Dates
//! such as `2026.11.27` and `2026-11-27` are versions, too. Names such as `blue` have no order.

use std::cmp::Ordering;

/// A version that can be compared with others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionOrder {
    /// Without zeros at the end.
    numbers: Vec<Number>,
    /// `None` for a release, which is newer than its pre-releases.
    stage: Stage,
    /// The build metadata. It orders versions that are otherwise equal.
    build: Vec<Word>,
}

/// The pre-release part. The order of the variants is that of the versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    PreRelease(Vec<Word>),
    Release,
}

/// A part between dots. The order of the variants is that of the parts: numbers are older than words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(Number),
    /// Compared by its ASCII letters.
    Text(String),
}

/// A whole number of any length: its digits without zeros at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number(String);

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Self(text.trim_start_matches('0').to_owned()))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl VersionOrder {
    /// Parses a version. Returns `None` if it has no order.
    pub fn parse(version: &str) -> Option<Self> {
        let bare = version.strip_prefix(['v', 'V']).unwrap_or(version);
        let (bare, build) = match bare.split_once('+') {
            Some((bare, build)) => (bare, words(build)?),
            None => (bare, Vec::new()),
        };
        let (numbers, stage) = match bare.split_once('-') {
            Some(_) if is_date(bare) => (bare, Stage::Release),
            Some((numbers, pre_release)) => (numbers, Stage::PreRelease(words(pre_release)?)),
            None => (bare, Stage::Release),
        };
        let mut numbers = numbers.split(['.', '-']).map(Number::parse).collect::<Option<Vec<_>>>()?;
        while numbers.last().is_some_and(|number| number.0.is_empty()) {
            numbers.pop();
        }
        Some(Self { numbers, stage, build })
    }
}

/// Returns true for a date with hyphens, such as `2026-11-27`: its month and day are not a pre-release.
fn is_date(text: &str) -> bool {
    text.split('-').map(str::len).eq([4, 2, 2]) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// The parts between dots. `None` if one is empty.
fn words(text: &str) -> Option<Vec<Word>> {
    text.split('.').map(word).collect()
}

fn word(text: &str) -> Option<Word> {
    if text.is_empty() {
        return None;
    }
    Some(Number::parse(text).map_or_else(|| Word::Text(text.to_owned()), Word::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(version: &str) -> VersionOrder {
        VersionOrder::parse(version).unwrap_or_else(|| panic!("{version} has no order"))
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let ascending = [
            "0.9",
            "v1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0-rc10",
            "1.0-rc2",
            "1.0.0",
            "1.0.0+1",
            "1.0.0+2",
            "1.0.0+10",
            "1.0.0+build.2",
            "1.0.1",
            "1.9",
            "v1.9.1",
            "1.10",
            "1.10.0.1",
            "v1.11.0",
            "2",
            "V10",
            "2026-11-27",
            "2026.11.28",
            "20261127",
            "99999999999999999999999999999999999999999998",
            "99999999999999999999999999999999999999999999",
        ];
        for (at, lower) in ascending.iter().enumerate() {
            for higher in &ascending[at + 1..] {
                assert!(order(lower) < order(higher), "{lower} < {higher}");
                assert!(order(higher) > order(lower), "{higher} > {lower}");
            }
        }
        for (one, other) in [("1", "v1.0.0"), ("01.2", "1.02.0"), ("1.0-rc.01", "v1-rc.1")] {
            assert_eq!(order(one), order(other));
        }
    }

    #[test]
    fn names_have_no_order() {
        for name in ["", "v", "blue", "latest", "1.x", "1..2", "1.", "1.0-", "1.0+", "1_0", "e3b0c44298fc", "1.0rc1"] {
            assert_eq!(VersionOrder::parse(name), None, "{name}");
        }
    }
}
