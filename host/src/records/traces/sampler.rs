//! Decides which requests are sampled.

use opentelemetry::trace::TraceId;

use super::context::CallerContext;

/// The rule by which requests are sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// If the caller continues a trace, its decision counts.
    pub follows_caller: bool,
    /// The part of all other requests, from 0 to 1.
    pub share: f64,
}

impl Sampler {
    /// Returns true if a request is sampled.
    pub(super) fn samples(self, trace: TraceId, caller: Option<&CallerContext>) -> bool {
        match caller {
            Some(caller) if self.follows_caller => caller.is_sampled,
            _ => self.samples_trace(trace),
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
            let sampler = Sampler { follows_caller: true, share };
            let mut sampled = 0;
            for _ in 0..20_000 {
                let trace = RandomIdGenerator::default().new_trace_id();
                let wanted = sdk.should_sample(None, trace, "", &SpanKind::Server, &[], &[]).decision;
                let found = sampler.samples(trace, None);
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
        let follows = |share| Sampler { follows_caller: true, share };
        assert!(follows(0.0).samples(trace, Some(&caller(true))));
        assert!(!follows(1.0).samples(trace, Some(&caller(false))));
        let own = |share| Sampler { follows_caller: false, share };
        assert!(!own(0.0).samples(trace, Some(&caller(true))));
        assert!(own(1.0).samples(trace, Some(&caller(false))));
    }
}
