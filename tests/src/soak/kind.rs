//! The kinds of requests, and the replies that are right for each of them.

use std::sync::LazyLock;

use super::Random;
use super::process::Process;
use super::raw;

/// Random bytes, from which malformed bodies are cut.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(7);
    (0..256 << 10).map(|_| random.below(256) as u8).collect()
});

/// The names of kinds that are left out, with commas between them: to see what each kind costs the others.
static WITHOUT: LazyLock<String> = LazyLock::new(|| std::env::var("PLIMSOLL_SOAK_WITHOUT").unwrap_or_default());

/// A kind of request.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// An image for the plugin that leaks.
    Image,
    /// A pipeline whose plugin is replaced during the soak: both stages must have the same version.
    Stamp,
    /// Tensors of the Open Inference Protocol.
    Tensors,
    /// Readiness.
    Ready,
    /// The metrics.
    Metrics,
    /// Bytes that are not an image; the plugin keeps them.
    NoImage,
    /// A pipeline that does not exist.
    Nowhere,
    /// GET where POST is wanted.
    Method,
    /// JSON that ends early.
    Json,
    /// A body that is not gzip, although its header says so.
    Gzip,
    /// An unknown `Content-Encoding`.
    Encoding,
    /// A body that announces more bytes than allowed.
    Announced,
    /// A trap in the plugin.
    Trap,
    /// A plugin that allocates without end.
    Grow,
    /// A plugin that never returns.
    Loop,
    /// The connection is cut in the body.
    CutBody,
    /// The connection is cut in the head.
    CutHead,
    /// The connection is cut while the plugin runs.
    CutRun,
    /// Bytes that are not HTTP.
    Garbage,
    /// A head that is too long.
    LongHead,
}

/// Good requests with their weights.
pub const GOOD: &[(Kind, u64)] =
    &[(Kind::Image, 440), (Kind::Stamp, 300), (Kind::Tensors, 200), (Kind::Ready, 58), (Kind::Metrics, 2)];
/// Malformed requests with their weights. Those that use a CPU for long are few.
pub const BAD: &[(Kind, u64)] = &[
    (Kind::NoImage, 480),
    (Kind::Nowhere, 60),
    (Kind::Method, 60),
    (Kind::Json, 100),
    (Kind::Gzip, 60),
    (Kind::Encoding, 40),
    (Kind::Announced, 30),
    (Kind::Trap, 60),
    (Kind::Grow, 10),
    (Kind::Loop, 2),
    (Kind::CutBody, 30),
    (Kind::CutHead, 20),
    (Kind::CutRun, 18),
    (Kind::Garbage, 20),
    (Kind::LongHead, 10),
];

impl Kind {
    /// Draws a kind: half of the requests are malformed, unless only good ones are wanted.
    pub(super) fn choose(random: &mut Random, good_only: bool) -> Self {
        let kinds = if good_only || random.below(2) == 0 { GOOD } else { BAD };
        let mut at = random.below(kinds.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in kinds {
            if at < *weight {
                if WITHOUT.split(',').any(|name| name == kind.name()) {
                    return Self::choose(random, good_only);
                }
                return *kind;
            }
            at -= weight;
        }
        Self::Ready
    }

    /// True if the reply must be a success.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Image | Self::Stamp | Self::Tensors | Self::Ready | Self::Metrics)
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Stamp => "replaced plugin",
            Self::Tensors => "tensors",
            Self::Ready => "readiness",
            Self::Metrics => "metrics",
            Self::NoImage => "no image, leaked",
            Self::Nowhere => "unknown pipeline",
            Self::Method => "wrong method",
            Self::Json => "broken JSON",
            Self::Gzip => "broken gzip",
            Self::Encoding => "unknown encoding",
            Self::Announced => "too large",
            Self::Trap => "trap",
            Self::Grow => "memory cap",
            Self::Loop => "deadline",
            Self::CutBody => "cut in the body",
            Self::CutHead => "cut in the head",
            Self::CutRun => "cut while it runs",
            Self::Garbage => "not HTTP",
            Self::LongHead => "long head",
        }
    }

    /// Sends the request and checks the reply. A body that is not an image has at most `longest` bytes.
    ///
    /// # Errors
    /// What was wrong with the reply.
    pub(super) async fn send(
        self,
        process: &Process,
        http: &reqwest::Client,
        random: &mut Random,
        longest: u64,
    ) -> Result<(), String> {
        let url = |path: &str| format!("{}{path}", process.url);
        // A part of bytes that were drawn once: to draw them for each request would take the CPU of the server.
        let noise = |random: &mut Random, first: u8| -> Vec<u8> {
            let (from, length) = (random.below(64 << 10) as usize, random.below(longest - 15) as usize + 15);
            [&[first], &NOISE[from..from + length]].concat()
        };
        let image = || [&[0xFF, 0xD8], &[7; 2_000][..]].concat();
        let leaky = || http.post(url("/v1/pipelines/leaky/infer"));
        let tester = |query: &str| http.post(url(&format!("/v1/pipelines/tester/infer?do={query}"))).body("x");
        let tensors = "/v2/models/tester.infer/infer";
        match self {
            Self::Image => expect(leaky().body(image()), 200, "").await.map(drop),
            Self::Stamp => {
                let text = expect(http.post(url("/v1/pipelines/stamp/infer")), 200, "").await?;
                match text.split_once(' ') {
                    Some((first, last)) if first == last => Ok(()),
                    _ => Err(format!("two versions in one request: {text}")),
                }
            }
            Self::Tensors => {
                let numbers: Vec<_> = (0..64).map(|_| random.below(1_000)).collect();
                let input =
                    serde_json::json!({ "name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": numbers });
                let body = serde_json::json!({ "inputs": [input] }).to_string();
                let text = expect(http.post(url(tensors)).body(body), 200, "").await?;
                let reply: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                let data = reply["outputs"][0]["data"].as_array().ok_or("no data")?;
                let same = data.iter().map(serde_json::Value::as_f64).eq(numbers.iter().map(|it| Some(*it as f64)));
                if same { Ok(()) } else { Err(format!("other numbers: {text}")) }
            }
            Self::Ready => expect(http.get(url("/v2/health/ready")), 200, "").await.map(drop),
            Self::Metrics => {
                let request = http.get(url("/metrics")).bearer_auth(process.token());
                expect(request, 200, "plimsoll_").await.map(drop)
            }
            Self::NoImage => expect(leaky().body(noise(random, 0)), 422, "invalid_input").await.map(drop),
            Self::Nowhere => expect(http.post(url("/v1/pipelines/nowhere/infer")), 404, "not_found").await.map(drop),
            Self::Method => {
                expect(http.get(url("/v1/pipelines/leaky/infer")), 405, "method_not_allowed").await.map(drop)
            }
            Self::Json => expect(http.post(url(tensors)).body("{\"inputs\": [{\"name\":"), 400, "").await.map(drop),
            Self::Gzip => {
                let request = leaky().header("content-encoding", "gzip").body(noise(random, 1));
                expect(request, 400, "invalid_input").await.map(drop)
            }
            Self::Encoding => {
                let request = leaky().header("content-encoding", "br").body(image());
                expect(request, 415, "unsupported_media_type").await.map(drop)
            }
            // A pipeline with a longer deadline, which other load does not reach before the trap or the cap.
            Self::Trap => {
                let panic = http.post(url("/v1/pipelines/grower/infer?do=panic")).body("x");
                expect(panic, 500, "trap").await.map(drop)
            }
            Self::Grow => {
                let grow = http.post(url("/v1/pipelines/grower/infer?do=grow")).body("x");
                expect(grow, 413, "memory_limit").await.map(drop)
            }
            Self::Loop => expect(tester("loop"), 504, "deadline").await.map(drop),
            Self::Announced => {
                raw::expect(
                    process,
                    b"POST /v1/pipelines/leaky/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n",
                    " 413 ",
                )
                .await
            }
            Self::CutBody => {
                raw::cut(
                    process,
                    b"POST /v1/pipelines/leaky/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf",
                )
                .await
            }
            Self::CutHead => raw::cut(process, b"POST /v1/pipelines/leaky/infer HTTP/1.1\r\nho").await,
            Self::CutRun => {
                raw::cut(
                    process,
                    b"POST /v1/pipelines/tester/infer?do=sleep&ms=40 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx",
                )
                .await
            }
            Self::Garbage => raw::expect(process, b"\x16\x03\x01 nonsense \r\n\r\n", " 400 ").await,
            Self::LongHead => {
                let head =
                    [b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nx-long: ".to_vec(), vec![b'a'; 100_000]].concat();
                raw::expect(process, &head, " 431 ").await
            }
        }
    }
}

/// Sends a request, and returns the text of a reply with this status and this part in its body.
async fn expect(request: reqwest::RequestBuilder, status: u16, part: &str) -> Result<String, String> {
    let reply = request.send().await.map_err(|error| format!("no reply: {error:?}"))?;
    let found = reply.status().as_u16();
    let text = reply.text().await.map_err(|error| format!("the reply was cut off: {error:?}"))?;
    if found == status && text.contains(part) {
        return Ok(text);
    }
    Err(format!("expected {status} {part}, found {found}: {}", text.chars().take(300).collect::<String>()))
}
