//! Decides which requests are sampled.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use opentelemetry::trace::TraceId;

use super::context::CallerContext;

/// The rule by which requests are sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// If the caller continues a trace, its decision counts.
    pub follows_caller: bool,
    /// The part of all other requests, from 0 to 1.
    pub share: f64,
    /// Sampled requests per second whose trace is the caller's, if not all requests are sampled.
    pub caller_rate: u32,
}

/// Whether a request is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Sampled,
    NotSampled,
    /// It would be, but its trace is the caller's, and callers have too many sampled ones.
    Limited,
}

impl Sampler {
    /// Decides whether a request is sampled. A caller chooses the id of its trace, too, so its traces are limited also if only
    /// the share decides.
    pub(super) fn decide(self, trace: TraceId, caller: Option<&CallerContext>, callers: &CallerTraces) -> Decision {
        let is_wanted = match caller {
            Some(caller) if self.follows_caller => caller.is_sampled,
            _ => self.samples_trace(trace),
        };
        match is_wanted {
            false => Decision::NotSampled,
            true if caller.is_none() || self.share >= 1.0 || callers.take(self.caller_rate, Instant::now()) => {
                Decision::Sampled
            }
            true => Decision::Limited,
        }
    }

    /// The same decision for a trace in every host that has this share, by its id
    /// ([`TraceIdRatioBased`](https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased)).
    fn samples_trace(self, trace: TraceId) -> bool {
        if self.share >= 1.0 {
            return true;
        }
        let bound = (self.share.max(0.0) * (1_u64 << 63) as f64) as u64;
        let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < bound
    }
}

/// The sampled requests whose traces are their callers'.
#[derive(Debug, Default)]
pub(super) struct CallerTraces(Mutex<Option<Tokens>>);

/// Requests that may be sampled now. They are refilled at the rate, up to those of one second.
#[derive(Debug)]
struct Tokens {
    count: f64,
    refilled: Instant,
}

impl CallerTraces {
    /// Returns true if one more may be sampled.
    fn take(&self, rate: u32, now: Instant) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = tokens.get_or_insert(Tokens { count: rate.into(), refilled: now });
        let passed = now.saturating_duration_since(tokens.refilled).as_secs_f64();
        tokens.count = (tokens.count + passed * f64::from(rate)).min(rate.into());
        tokens.refilled = now.max(tokens.refilled);
        let may = tokens.count >= 1.0;
        tokens.count -= f64::from(u8::from(may));
        may
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, SpanKind, TraceState};
    use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingDecision, ShouldSample};

    use super::*;

    /// The SDK of OpenTelemetry decides the same.
    #[test]
    fn a_share_of_traces_is_that_of_other_hosts() {
        for share in [0.0, 0.01, 0.5, 0.99, 1.0] {
            let sdk = opentelemetry_sdk::trace::Sampler::TraceIdRatioBased(share);
            let sampler = Sampler { follows_caller: true, share, caller_rate: 0 };
            let mut sampled = 0;
            for _ in 0..20_000 {
                let trace = RandomIdGenerator::default().new_trace_id();
                let wanted = sdk.should_sample(None, trace, "", &SpanKind::Server, &[], &[]).decision;
                let found = sampler.decide(trace, None, &CallerTraces::default()) == Decision::Sampled;
                assert_eq!(found, wanted == SamplingDecision::RecordAndSample, "{share} {trace}");
                sampled += u32::from(found);
            }
            let found = f64::from(sampled) / 20_000.0;
            assert!((found - share).abs() < 0.03, "{found} of {share}");
        }
    }

    #[test]
    fn the_decision_of_the_caller_counts_if_it_is_followed() {
        let trace = TraceId::from(1);
        let caller = |is_sampled| CallerContext { trace, span: SpanId::from(1), is_sampled, state: TraceState::NONE };
        let samples = |follows_caller, share, is_sampled| {
            let sampler = Sampler { follows_caller, share, caller_rate: 1 };
            sampler.decide(trace, Some(&caller(is_sampled)), &CallerTraces::default()) == Decision::Sampled
        };
        assert!(samples(true, 0.0, true) && !samples(true, 1.0, false));
        assert!(!samples(false, 0.0, true) && samples(false, 1.0, false));
    }

    #[test]
    fn callers_make_only_so_many_requests_sampled() {
        let callers = CallerTraces::default();
        let start = Instant::now();
        let taken = |milliseconds: u64| {
            let now = start + std::time::Duration::from_millis(milliseconds);
            (0..1_000).filter(|_| callers.take(10, now)).count()
        };
        assert_eq!([0, 0, 50, 100, 1_000, 60_000].map(taken), [10, 0, 0, 1, 9, 10]);
        assert_eq!(taken(0), 0, "a time before the last one");
        // A trace that the share would sample is the choice of the caller, too. Where all are sampled, nothing is limited.
        let caller =
            CallerContext { trace: TraceId::from(1), span: SpanId::from(1), is_sampled: true, state: TraceState::NONE };
        let decide = |follows_caller, share, caller| {
            let sampler = Sampler { follows_caller, share, caller_rate: 0 };
            sampler.decide(TraceId::from(1), caller, &CallerTraces::default())
        };
        assert_eq!(decide(true, 0.5, Some(&caller)), Decision::Limited);
        assert_eq!(decide(false, 0.5, Some(&caller)), Decision::Limited);
        assert_eq!(decide(true, 0.5, None), Decision::Sampled);
        assert_eq!(decide(true, 1.0, Some(&caller)), Decision::Sampled);
    }
}
