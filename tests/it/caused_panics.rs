//! Panics in the real binary, one in each kind of task: it is counted, the task goes on, and readiness says so where it
//! cannot. `tests/under_test.rs` causes them.

use std::path::{Path, PathBuf};

use plimsoll_tests::{Site, stamped, stamped_reply};
use tonic::Code;

use crate::grpc_calls::{Client, channel, images};
use crate::wrapped::{self, Wrapped, until};

const READY: &str = "/v2/health/ready";
const HANDLER_PANICS: &str = "plimsoll_handler_panics_total";

/// A process in which panics can be caused.
pub(crate) struct Faulty {
    pub(crate) site: Site,
    pub(crate) process: Wrapped,
}

impl Faulty {
    /// `more` is added to the pipeline. The server runs one request at a time.
    pub(crate) fn start(more: &str, mark: u32) -> Self {
        let site = wrapped::site("");
        let text = std::fs::read_to_string(&site.config).expect("text");
        let text = text.replacen("[server]\n", "[server]\nmax_concurrency = 1\n", 1);
        let text = text.replacen("[pipelines.p]\n", &format!("[pipelines.p]\n{more}\n"), 1);
        plimsoll_tests::replace_file(&site.config, text).expect("written");
        site.drop_in("stamp.wasm", &stamped(mark));
        let faults = site.folder.path().join("faults");
        std::fs::create_dir(&faults).expect("a folder");
        let process = Wrapped::start(&["env", &format!("PLIMSOLL_TEST_FAULTS={}", faults.display())], &site);
        Self { site, process }
    }

    pub(crate) fn fault(&self, place: &str) -> PathBuf {
        self.site.folder.path().join("faults").join(place)
    }

    /// Causes one panic when the place is reached for the next time.
    fn cause(&self, place: &str) {
        std::fs::write(self.fault(place), "").expect("written");
    }

    async fn until_caused(&self, place: &str) {
        until(place, async || !self.fault(place).exists()).await;
    }

    async fn wait_for_panics(&self, task: &str, count: u64) {
        self.process.wait_for_metric(&format!("plimsoll_background_task_panics_total{{task=\"{task}\"}}"), count).await;
    }

    pub(crate) async fn until_reply(&self, mark: u32) {
        until("the new version", async || self.process.reply().await == stamped_reply(mark)).await;
    }

    async fn assert_ready(&self) {
        let (status, text) = self.process.send("GET", READY, Vec::new()).await;
        assert_eq!(status, 200, "{text}");
    }
}

fn recordings(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder.join(".plimsoll/recordings/p")).expect("a folder");
    files.filter(|file| file.as_ref().expect("an entry").path().extension().is_some_and(|it| it == "json")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watcher_goes_on_after_a_panic_and_shows_the_version_in_whose_trial_it_panicked() {
    let faulty = Faulty::start("", 0);
    faulty.cause("scan");
    faulty.wait_for_panics("watcher", 1).await;
    faulty.assert_ready().await;
    faulty.site.drop_in("stamp.wasm", &stamped(1));
    faulty.until_reply(1).await;
    // No request runs meanwhile, so the sample of the new version reaches the place.
    faulty.cause("pipeline");
    faulty.site.drop_in("stamp.wasm", &stamped(2));
    faulty.wait_for_panics("watcher", 2).await;
    faulty.assert_ready().await;
    let (_, plugin) = faulty.process.json("GET", "/v1/plugins/stamp", Vec::new()).await;
    let versions = plugin["versions"].as_array().expect("a list");
    let refused = versions.iter().find(|version| version["state"] == "refused");
    let reason = refused.and_then(|version| version["reason"].as_str()).unwrap_or_else(|| panic!("{plugin}"));
    assert!(reason.contains("the host panicked"), "{reason}");
    assert_eq!(faulty.process.reply().await, stamped_reply(1), "the version before serves");
    faulty.site.drop_in("stamp.wasm", &stamped(3));
    faulty.until_reply(3).await;
    assert_eq!(faulty.process.metric("plimsoll_panics_total").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_goes_on_after_a_panic() {
    let faulty = Faulty::start("", 0);
    for count in 1..=2 {
        faulty.cause("epoch");
        faulty.wait_for_panics("epoch", count).await;
    }
    faulty.assert_ready().await;
    assert_eq!(faulty.process.reply().await, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_decided_after_a_panic_of_its_decision() {
    let faulty = Faulty::start("canary = { share = \"50%\", requests = 10 }", 0);
    let (status, put) = faulty.process.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &put["state"]), (200, &"canary".into()), "{put}");
    faulty.cause("canaries");
    until("a request of the new version", async || {
        faulty.process.reply().await;
        !faulty.fault("canaries").exists()
    })
    .await;
    for _ in 0..60 {
        faulty.process.reply().await;
    }
    faulty.wait_for_panics("canaries", 1).await;
    until("the decision", async || faulty.process.states("stamp").await.contains(&"previous".to_owned())).await;
    faulty.assert_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_goes_on_after_a_panic_and_readiness_says_so_if_it_cannot() {
    let faulty = Faulty::start("record = {}", 9);
    let trap = async || faulty.process.send("POST", "/v1/pipelines/p/infer?do=trap", Vec::new()).await.0;
    faulty.cause("recording");
    assert_eq!(trap().await, 500);
    faulty.wait_for_panics("recorder", 1).await;
    faulty.assert_ready().await;
    assert_eq!((trap().await, faulty.process.metric(HANDLER_PANICS).await), (500, 0), "only the plugin panicked");
    until("the next recording", async || recordings(faulty.site.folder.path()) == 1).await;

    faulty.cause("recording");
    faulty.cause("recorder restart");
    assert_eq!(trap().await, 500);
    faulty.wait_for_panics("recorder", 3).await;
    let (status, reply) = faulty.process.json("GET", READY, Vec::new()).await;
    assert!(status == 503 && reply["reason"].as_str().is_some_and(|reason| reason.contains("`recorder`")), "{reply}");
    assert_eq!(faulty.process.send("GET", "/v2/health/live", Vec::new()).await.0, 200);
    assert_eq!(faulty.process.reply().await, stamped_reply(9), "it serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_in_whose_trial_the_host_panics_is_answered_and_can_be_repeated() {
    let faulty = Faulty::start("", 0);
    faulty.cause("pipeline");
    let (status, reply) = faulty.process.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["code"]), (500, &"internal".into()), "{reply}");
    assert_eq!(faulty.process.metric(HANDLER_PANICS).await, 1);
    assert_eq!(faulty.process.states("stamp").await, ["serving"]);
    assert_eq!(faulty.process.reply().await, stamped_reply(0));
    let (status, reply) = faulty.process.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["state"]), (200, &"serving".into()), "{reply}");
    assert_eq!(faulty.process.reply().await, stamped_reply(1));
}

/// Also what the request held is free: the next one runs, although there is one slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_handler_is_an_answer_over_each_transport() {
    let faulty = Faulty::start("", 0);
    let process = &faulty.process;
    faulty.cause("pipeline");
    let (status, reply) = process.json("POST", "/v1/pipelines/p/infer", Vec::new()).await;
    assert_eq!((status, &reply["code"]), (500, &"internal".into()), "{reply}");
    assert_eq!(process.reply().await, stamped_reply(0));

    let image = r#"{"inputs":[{"name":"image","datatype":"BYTES","shape":[2],"data":["x","y"]}]}"#;
    faulty.cause("pipeline");
    let (status, reply) = process.json("POST", "/v2/models/p/infer", image.into()).await;
    assert_eq!((status, &reply["code"]), (500, &"internal".into()), "{reply}");
    assert_eq!(process.send("POST", "/v2/models/p/infer", image.into()).await.0, 200);

    let mut client = Client::new(channel(&format!("http://{}", process.address())).await);
    let message = || images("p", &[b"x"], &[]);
    faulty.cause("pipeline");
    let status = client.model_infer(message()).await.expect_err("a panic");
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    client.model_infer(message()).await.expect("an answer");

    // A stream goes on with its next message.
    faulty.cause("pipeline");
    let stream = client.model_stream_infer(tonic::Request::new(futures_util::stream::iter([message(), message()])));
    let mut stream = stream.await.expect("a stream").into_inner();
    let first = stream.message().await.expect("a message").expect("an answer");
    assert!(first.error_message.contains("the server failed"), "{first:?}");
    let second = stream.message().await.expect("a message").expect("an answer");
    assert_eq!(second.error_message, "", "{second:?}");

    assert_eq!(process.metric(HANDLER_PANICS).await, 4);
    let outcome = "plimsoll_requests_total{pipeline=\"p\",chip=\"c\",outcome=\"internal\"}";
    assert!(process.metric(outcome).await >= 4, "{}", process.log());
    faulty.assert_ready().await;
    faulty.until_caused("pipeline").await;
}
