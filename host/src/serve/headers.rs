//! The headers of requests and replies. gRPC has them as metadata.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use plimsoll_runtime::stage::StageReport;

use crate::records::RequestSummary;
use crate::records::traces::context::TRACERESPONSE;

const CHIP: &str = "x-plimsoll-chip";
/// The plugin of each stage that ran: `preprocess=NAME@VERSION+DIGEST`, with the first twelve digits of the digest.
const PLUGINS: &str = "x-plimsoll-plugins";
const MEMORY: &str = "x-plimsoll-memory";
/// The request's id, in requests and replies.
pub const REQUEST_ID: &str = "x-request-id";
const SERVER_TIMING: &str = "server-timing";

/// Maximum bytes of the three lists of stages together. Clients of gRPC refuse answers with more than 8 KiB of metadata, and a
/// pipeline may have 100 steps. The lists end with `+N` if N stages are left out; the report and the log have them.
const MAX_LISTS: usize = 4 << 10;
const SEPARATOR: &str = ", ";

/// Maximum length of a caller's request id; it must be visible ASCII.
const MAX_REQUEST_ID: usize = 128;

/// The number in a header: digits only. `parse` alone accepts a plus sign.
pub fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The headers of a reply that describe the request and its stages.
pub fn summary_headers(summary: &RequestSummary) -> impl Iterator<Item = (&'static str, String)> {
    let RequestSummary { id, chip, stages, trace } = summary;
    let memory = |stage: &StageReport| format!("{}={}", stage.stage, stage.usage.high_water);
    let plugin =
        |stage: &StageReport| format!("{}={}@{}+{}", stage.stage, stage.plugin, stage.version, &stage.digest[..12]);
    let timing = |stage: &StageReport| format!("{};dur={:.3}", stage.stage, stage.duration.as_secs_f64() * 1e3);
    let mut lists = [String::new(), String::new(), String::new()];
    for (at, stage) in stages.iter().enumerate() {
        let items = [memory(stage), plugin(stage), timing(stage)];
        let bytes: usize = lists.iter().chain(&items).map(|text| text.len() + SEPARATOR.len()).sum();
        let items = match bytes <= MAX_LISTS {
            true => items,
            false => std::array::from_fn(|_| format!("+{}", stages.len() - at)),
        };
        let is_last = bytes > MAX_LISTS;
        for (list, item) in lists.iter_mut().zip(items) {
            if !list.is_empty() {
                list.push_str(SEPARATOR);
            }
            list.push_str(&item);
        }
        if is_last {
            break;
        }
    }
    let [memory, plugins, timing] = lists;
    let headers =
        [(REQUEST_ID, id.clone()), (CHIP, chip.clone()), (MEMORY, memory), (PLUGINS, plugins), (SERVER_TIMING, timing)];
    headers.into_iter().chain(trace.clone().map(|trace| (TRACERESPONSE, trace)))
}

/// Sets the headers of a reply.
pub fn set_headers(headers: &mut HeaderMap, summary: &RequestSummary) {
    for (name, value) in summary_headers(summary) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The request's id: the id that the caller sent if it is usable, a new one otherwise.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = text(headers, REQUEST_ID).filter(|id| is_usable_id(id));
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Returns true if a caller's id can be used in headers and in the log.
pub fn is_usable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The chip that a request names: in the query parameter `chip`, or in the header.
pub fn chip<'a>(headers: &'a HeaderMap, parameters: &'a [(String, String)]) -> Option<&'a str> {
    let parameter = parameters.iter().find(|(key, _)| key == "chip").map(|(_, value)| value.as_str());
    // A name that is not text is no chip, and not the default chip.
    let named = || headers.get(CHIP).map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}"));
    parameter.or_else(named)
}

/// The value of a header, if it is text.
pub fn text(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
