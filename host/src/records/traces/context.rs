//! The trace that a caller continues: its headers `traceparent` and `tracestate`
//! ([W3C Trace Context](https://www.w3.org/TR/trace-context/)). A `traceparent` that is not valid is ignored, as the
//! recommendation asks; so is a `tracestate` that is not valid or has no valid `traceparent`.

use axum::http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The header of the reply with the span of the request
/// ([draft](https://w3c.github.io/trace-context/#traceresponse-header)).
pub const TRACERESPONSE: &str = "traceresponse";

/// Characters of a `traceparent` of version 00; later versions may have more.
const LENGTH: usize = 55;
/// Most characters of a `tracestate` that are kept; the recommendation asks for 512.
const MAX_STATE: usize = 4096;
/// The flag of a sampled trace.
const SAMPLED: u8 = 1;

/// The span of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerContext {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Whether the caller samples the trace.
    pub is_sampled: bool,
    /// What others keep in the trace.
    pub state: TraceState,
}

impl CallerContext {
    /// Reads the headers of a request.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (trace, span, is_sampled) = parse(value)?;
        Some(Self { trace, span, is_sampled, state: state(headers).unwrap_or_default() })
    }
}

/// The trace, the span, and whether it is sampled.
fn parse(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let (known, more) = text.trim_matches([' ', '\t']).split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let mut part = |length| parts.next().filter(|part| part.len() == length && part.bytes().all(is_digit));
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let fits = match version {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.is_empty() || more.starts_with('-'),
    };
    let trace = TraceId::from_hex(trace).ok().filter(|trace| *trace != TraceId::INVALID)?;
    let span = SpanId::from_hex(span).ok().filter(|span| *span != SpanId::INVALID)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    fits.then_some((trace, span, flags & SAMPLED != 0))
}

fn is_digit(letter: u8) -> bool {
    matches!(letter, b'0'..=b'9' | b'a'..=b'f')
}

/// Several headers are one list.
fn state(headers: &HeaderMap) -> Option<TraceState> {
    let mut joined = String::new();
    for value in headers.get_all(TRACESTATE) {
        let value = value.to_str().ok()?;
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(value);
    }
    if joined.is_empty() || joined.len() > MAX_STATE { None } else { joined.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(headers: &[(&'static str, &str)]) -> Option<CallerContext> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        CallerContext::read(&map)
    }

    /// The examples of the recommendation, and the cases of its test suite.
    #[test]
    fn only_a_valid_traceparent_is_taken() {
        for (more, is_sampled) in [("-01", true), ("-00", false), ("-03", true), ("-ff", true), ("-02", false)] {
            let context = read(&[("traceparent", &format!("00-{TRACE}-{SPAN}{more}"))]).expect("valid");
            assert_eq!((context.trace.to_string().as_str(), context.span.to_string().as_str()), (TRACE, SPAN));
            assert_eq!(context.is_sampled, is_sampled, "{more}");
        }
        // A later version may have more fields.
        assert!(read(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-what-the-future"))]).is_some());
        assert!(read(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01"))]).is_some());
        for wrong in [
            format!("00-{TRACE}-{SPAN}-01-what"),
            format!("00-{TRACE}-{SPAN}-01."),
            format!("cc-{TRACE}-{SPAN}-01.what"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00{TRACE}{SPAN}01"),
            "00-é".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&[("traceparent", &wrong)]), None, "{wrong}");
        }
        let once = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[("traceparent", &once), ("traceparent", &once)]), None, "twice");
        assert_eq!(read(&[("tracestate", "a=1")]), None);
    }

    #[test]
    fn a_tracestate_is_kept_if_it_is_valid() {
        let with = |states: &[&str]| {
            let parent = format!("00-{TRACE}-{SPAN}-01");
            let mut headers = vec![("traceparent", parent.as_str())];
            headers.extend(states.iter().map(|state| ("tracestate", *state)));
            read(&headers).expect("the parent is valid").state.header()
        };
        assert_eq!(with(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
        assert_eq!(with(&["foo=1", "bar@x=2"]), "foo=1,bar@x=2");
        assert_eq!(with(&["foo=1 , , bar=2"]), "foo=1,bar=2");
        assert_eq!(with(&["FOO=1"]), "");
        assert_eq!(with(&["foo"]), "");
        assert_eq!(with(&[""]), "");
    }
}
