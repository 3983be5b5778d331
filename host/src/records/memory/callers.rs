//! The callers that cause the most bytes of memory growth, and those with the most requests. The number of tracked
//! callers is limited.
//!
//! Two Filtered Space-Saving sketches (Homem and Carvalho, "Finding top-k elements in data streams", Information
//! Sciences 180, 2010, after Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in
//! Data Streams", ICDT 2005) hold up to `top_callers` names each. An estimate is never too low. It is too high by at
//! most its error, which the report shows next to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_runtime::identity::hex;
use plimsoll_runtime::outcome::Outcome;
use serde::Serialize;
use sha2::{Digest, Sha256};
use topk::FilteredSpaceSaving;

/// Maximum length of a caller's name in bytes. Longer names are cut.
const MAX_NAME: usize = 64;
/// Hexadecimal digits of the digest that is shown instead of a secret.
const DIGEST_DIGITS: usize = 12;
/// Headers whose values are secrets. A digest is shown instead of the value, so callers can still be distinguished.
const SECRETS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// The name of the caller of requests without the header.
const NO_CALLER: &str = "(none)";
/// The name under which all callers that are not tracked are counted.
pub const OTHERS: &str = "(other)";

/// The number of a tracked caller. Numbers are not reused.
pub type CallerId = u32;
/// The number of all callers that are not tracked.
pub const OTHERS_ID: CallerId = 0;
const NO_CALLER_ID: CallerId = 1;

/// The caller of a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name, as reports show it.
    pub name: Arc<str>,
    /// `None` if the caller is not tracked.
    known: Option<Arc<Known>>,
}

impl Caller {
    /// The caller's number; [`OTHERS_ID`] if it is not tracked.
    pub fn id(&self) -> CallerId {
        self.known.as_ref().map_or(OTHERS_ID, |known| known.id)
    }
}

/// The callers that are tracked.
pub struct Callers {
    hashes: bool,
    no_caller: Caller,
    tracked: Mutex<Tracked>,
}

struct Tracked {
    by_bytes: FilteredSpaceSaving<Arc<str>>,
    by_count: FilteredSpaceSaving<Arc<str>>,
    known: HashMap<Arc<str>, Arc<Known>>,
    /// Maximum length of `known`: four times the capacity of a sketch, so that callers that fell out of both sketches
    /// are removed in large groups.
    capacity: usize,
    next: CallerId,
}

/// Exact figures of a caller from the time at which tracking began.
#[derive(Debug, Default)]
struct Known {
    id: CallerId,
    max: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl Known {
    fn count(&self, outcome: Outcome, max: u64) {
        self.max.fetch_max(max, Relaxed);
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }
}

/// A caller in the report.
#[derive(Debug, Clone, Serialize)]
pub struct CallerRow {
    /// The header's value, cut to 64 characters; `(none)` for requests without the header.
    pub caller: Arc<str>,
    /// Number of requests; an upper bound.
    pub requests: u64,
    /// Maximum amount by which `requests` may be too high.
    pub requests_error: u64,
    /// Bytes by which linear memory grew over its size after instantiation, summed over all stages of all requests; an
    /// upper bound.
    pub bytes: u64,
    /// Maximum amount by which `bytes` may be too high.
    pub bytes_error: u64,
    /// Highest high-water mark of one stage run in bytes, since tracking of the caller began.
    pub max: u64,
    /// Requests by outcome since tracking of the caller began. Outcomes that did not occur are absent.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// The part of the report about callers.
#[derive(Debug, Clone, Serialize)]
pub struct CallerReport {
    /// The header that identifies the caller.
    pub header: String,
    /// Maximum number of callers in each list.
    pub tracked: usize,
    /// The callers with the most bytes, in descending order.
    pub by_bytes: Vec<CallerRow>,
    /// The callers with the most requests, in descending order.
    pub by_count: Vec<CallerRow>,
}

impl Callers {
    /// Tracks up to `top` callers by bytes and the same number by requests. `header` is the header that identifies
    /// callers.
    pub fn new(header: &str, top: usize) -> Self {
        let name: Arc<str> = NO_CALLER.into();
        let known = Arc::new(Known { id: NO_CALLER_ID, ..Known::default() });
        let tracked = Tracked {
            by_bytes: FilteredSpaceSaving::new(top),
            by_count: FilteredSpaceSaving::new(top),
            known: HashMap::from([(Arc::clone(&name), Arc::clone(&known))]),
            capacity: 4 * top + 1,
            next: NO_CALLER_ID + 1,
        };
        let hashes = SECRETS.iter().any(|secret| header.eq_ignore_ascii_case(secret));
        Self { hashes, no_caller: Caller { name, known: Some(known) }, tracked: Mutex::new(tracked) }
    }

    /// The caller of requests without the header.
    pub fn no_caller(&self) -> Caller {
        self.no_caller.clone()
    }

    /// Returns the caller that a header value identifies.
    pub fn caller(&self, value: &[u8]) -> Caller {
        if self.hashes {
            return self.named(&format!("sha256:{}", &hex(&Sha256::digest(value))[..DIGEST_DIGITS]));
        }
        let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        match std::str::from_utf8(value) {
            Ok(name) if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| visible(&byte)) => {
                self.named(name)
            }
            _ if value.is_empty() => self.no_caller(),
            _ => {
                let shown = |byte: &u8| if visible(byte) { char::from(*byte) } else { '?' };
                self.named(&value.iter().take(MAX_NAME).map(shown).collect::<String>())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Caller {
        let mut tracked = self.lock();
        if let Some((name, known)) = tracked.known.get_key_value(name) {
            return Caller { name: Arc::clone(name), known: Some(Arc::clone(known)) };
        }
        let name: Arc<str> = name.into();
        let known = (tracked.known.len() < tracked.capacity).then(|| tracked.add(&name));
        Caller { name, known }
    }

    /// Counts a request. Its stages grew by `bytes` in total, and `max` is the highest of their high-water marks.
    /// Returns the numbers of callers that are no longer tracked; the list is almost always empty.
    pub fn record(&self, caller: &Caller, outcome: Outcome, bytes: u64, max: u64) -> Vec<CallerId> {
        let mut tracked = self.lock();
        tracked.by_bytes.insert(Arc::clone(&caller.name), bytes);
        tracked.by_count.insert(Arc::clone(&caller.name), 1);
        if let Some(known) = &caller.known {
            known.count(outcome, max);
            return Vec::new();
        }
        if !tracked.in_a_list(&caller.name) {
            return Vec::new();
        }
        let gone = if tracked.known.len() >= tracked.capacity { tracked.prune() } else { Vec::new() };
        // A concurrent request of the same caller may have added it already.
        let known = tracked.known.get(&caller.name).map(Arc::clone).unwrap_or_else(|| tracked.add(&caller.name));
        known.count(outcome, max);
        gone
    }

    /// The names of the tracked callers by number.
    pub fn names(&self) -> HashMap<CallerId, Arc<str>> {
        let tracked = self.lock();
        tracked.known.iter().map(|(name, known)| (known.id, Arc::clone(name))).collect()
    }

    /// Returns the current lists.
    pub fn report(&self, header: &str) -> CallerReport {
        let tracked = self.lock();
        let row = |name: &Arc<str>| {
            let (count, bytes) = (tracked.by_count.estimate(name), tracked.by_bytes.estimate(name));
            let known = tracked.known.get(name);
            let outcomes = known.into_iter().flat_map(|known| Outcome::ALL.into_iter().zip(&known.outcomes));
            CallerRow {
                caller: Arc::clone(name),
                requests: count.estimated_count(),
                requests_error: count.associated_error(),
                bytes: bytes.estimated_count(),
                bytes_error: bytes.associated_error(),
                max: known.map_or(0, |known| known.max.load(Relaxed)),
                outcomes: outcomes
                    .map(|(outcome, requests)| (outcome, requests.load(Relaxed)))
                    .filter(|(_, requests)| *requests > 0)
                    .map(|(outcome, requests)| (outcome.as_str(), requests))
                    .collect(),
            }
        };
        let mut by_bytes: Vec<_> = tracked.by_bytes.iter().map(|(name, _)| row(name)).collect();
        by_bytes.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.caller.cmp(&b.caller)));
        let mut by_count: Vec<_> = tracked.by_count.iter().map(|(name, _)| row(name)).collect();
        by_count.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.caller.cmp(&b.caller)));
        CallerReport { header: header.to_owned(), tracked: tracked.by_bytes.k(), by_bytes, by_count }
    }
}

impl Tracked {
    fn add(&mut self, name: &Arc<str>) -> Arc<Known> {
        let known = Arc::new(Known { id: self.next, ..Known::default() });
        self.next += 1;
        self.known.insert(Arc::clone(name), Arc::clone(&known));
        known
    }

    fn in_a_list(&self, name: &Arc<str>) -> bool {
        self.by_bytes.get(name).is_some() || self.by_count.get(name).is_some()
    }

    /// Drops the callers that are in neither list and returns their numbers. Afterwards at least half of `capacity` is
    /// free.
    fn prune(&mut self) -> Vec<CallerId> {
        let Self { by_bytes, by_count, known, .. } = self;
        let in_a_list = |name: &Arc<str>| by_bytes.get(name).is_some() || by_count.get(name).is_some();
        let gone = known.extract_if(|name, known| known.id != NO_CALLER_ID && !in_a_list(name));
        gone.map(|(_, known)| known.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_secrets_are_not_shown() {
        let callers = Callers::new("x-customer", 10);
        assert_eq!(&*callers.caller(b"acme").name, "acme");
        assert_eq!(&*callers.caller(b"").name, "(none)");
        assert_eq!(callers.caller(&[b'a'; 100]).name.len(), 64);
        assert_eq!(&*callers.caller("a\u{e9}b".as_bytes()).name, "a??b");
        assert_eq!(callers.caller(b"acme").id(), callers.caller(b"acme").id());

        let callers = Callers::new("Authorization", 10);
        let caller = callers.caller(b"Bearer secret");
        assert!(caller.name.starts_with("sha256:") && caller.name.len() == 19, "{}", caller.name);
        assert_ne!(caller.name, callers.caller(b"Bearer other").name);
    }

    #[test]
    fn top_callers_are_found_among_many_and_the_number_of_tracked_callers_is_limited() {
        let callers = Callers::new("x", 10);
        let mut gone = 0;
        for turn in 0..20_000u32 {
            let (name, bytes) = match turn % 4 {
                0 => ("frequent".to_owned(), 1),
                1 if turn % 100 == 1 => ("heavy".to_owned(), 1_000),
                _ => (format!("passer-by {turn}"), 1),
            };
            let caller = callers.caller(name.as_bytes());
            gone += callers.record(&caller, Outcome::Ok, bytes, bytes).len();
        }
        let report = callers.report("x");
        assert_eq!(&*report.by_bytes[0].caller, "heavy");
        assert_eq!(&*report.by_count[0].caller, "frequent");
        let row = &report.by_count[0];
        assert!(row.requests >= 5_000 && row.requests - row.requests_error <= 5_000, "{row:?}");
        assert_eq!((report.by_bytes.len(), report.by_count.len()), (10, 10));
        let tracked = callers.lock();
        assert!(tracked.known.len() <= tracked.capacity, "{}", tracked.known.len());
        assert!(gone > 0, "no caller was dropped");
    }
}
