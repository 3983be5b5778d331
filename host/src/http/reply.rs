//! What requests and replies say in their headers besides the body, in HTTP and in the metadata of gRPC.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::trace::{Report, StageReport};

const CHIP: &str = "x-plimsoll-chip";
/// Which versions answered: `preprocess=NAME@VERSION+DIGEST`, with the first twelve digits of the digest.
const PLUGINS: &str = "x-plimsoll-plugins";
const MEMORY: &str = "x-plimsoll-memory";
const REQUEST_ID: &str = "x-request-id";
const SERVER_TIMING: &str = "server-timing";

/// A caller's request id is taken over up to this length, if it is plain visible ASCII.
const MAX_REQUEST_ID: usize = 128;

/// What a reply tells of a request and its stages.
pub fn report_headers(report: &Report) -> [(&'static str, String); 5] {
    let Report { id, chip, stages } = report;
    let join = |items: Vec<String>| items.join(", ");
    let memory = stages.iter().map(|stage| format!("{}={}", stage.stage, stage.usage.high_water)).collect();
    let plugin =
        |stage: &StageReport| format!("{}={}@{}+{}", stage.stage, stage.plugin, stage.version, &stage.digest[..12]);
    let timing = stages.iter().map(|stage| format!("{};dur={:.3}", stage.stage, stage.duration.as_secs_f64() * 1e3));
    [
        (REQUEST_ID, id.clone()),
        (CHIP, chip.clone()),
        (MEMORY, join(memory)),
        (PLUGINS, join(stages.iter().map(plugin).collect())),
        (SERVER_TIMING, join(timing.collect())),
    ]
}

/// Sets the headers of a reply.
pub fn set_headers(headers: &mut HeaderMap, report: &Report) {
    for (name, value) in report_headers(report) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The caller's id for the request, else one that is made.
pub fn request_id(headers: &HeaderMap) -> String {
    let given = text(headers, REQUEST_ID).filter(|id| usable_id(id));
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Whether a caller's id can stand in a header and in the log.
pub fn usable_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The chip that a request names.
pub fn chip<'a>(headers: &'a HeaderMap, parameters: &'a [(String, String)]) -> Option<&'a str> {
    let parameter = parameters.iter().find(|(key, _)| key == "chip").map(|(_, value)| value.as_str());
    parameter.or_else(|| text(headers, CHIP))
}

/// A header that is text.
pub fn text(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
