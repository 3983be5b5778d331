//! A real server in the process of a test, and its replies.

use std::path::Path;
use std::sync::Arc;

use plimsoll::config::Config;
use plimsoll::serve::App;
use plimsoll::serve::{Listener, Listeners, Stop};
use tempfile::TempDir;

use crate::shared_cache;

/// The routes that need the token of administration.
const ADMINISTRATION: [&str; 9] = [
    "/v1/plugins",
    "/v1/memory",
    "/v1/chips",
    "/v1/config",
    "/v1/fleet",
    "/v1/leaks",
    "/v1/requests",
    "/v1/recordings",
    "/v2/repository/models",
];

/// A server in this process, on a free port of the loopback interface.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// `http://127.0.0.1:PORT` of gRPC. It is the same as `url` unless the configuration sets `grpc_listen`.
    pub grpc_url: String,
    /// `http://127.0.0.1:PORT` of administration, reports and metrics. It is the same as `url` unless the configuration
    /// sets `admin.listen`.
    pub admin_url: String,
    /// The token of administration that the server made; `None` if the configuration names one.
    pub token: Option<String>,
    /// The application, for checks that no route allows.
    pub app: Arc<App>,
    /// The HTTP client for requests.
    pub client: reqwest::Client,
    /// The data folder, which stores deployments. It is not used if the configuration names another.
    _data: TempDir,
    stop: Option<tokio::sync::mpsc::Sender<Stop>>,
    task: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Serves the configuration in `toml`. Relative paths start at the current folder.
    ///
    /// # Panics
    /// If the configuration is rejected. Use [`Server::rejection`] to test that.
    pub async fn start(toml: &str) -> Self {
        let config = Config::parse(toml, Path::new("test.toml")).expect("the configuration parses");
        Self::with_config(&config).await
    }

    /// Serves a configuration.
    ///
    /// # Panics
    /// If the configuration is rejected.
    pub async fn with_config(config: &Config) -> Self {
        plimsoll::base::telemetry::start(plimsoll::base::telemetry::LogFormat::Human).expect("the log starts");
        let data = tempfile::tempdir().expect("a folder");
        let mut config = config.clone();
        config.data_dir.get_or_insert_with(|| data.path().to_owned());
        config.cache_dir.get_or_insert_with(shared_cache);
        let app = Arc::new(App::open(&config).await.expect("the configuration is served"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let grpc = match &config.server.grpc_listen {
            None => Vec::new(),
            Some(listen) => Listener::bind_all(listen).await.expect("a free port"),
        };
        let grpc_url = grpc.first().map_or(url.clone(), Listener::to_string);
        let (stop, stops) = tokio::sync::mpsc::channel(1);
        let admin = match &config.admin.listen {
            None => Vec::new(),
            Some(listen) => Listener::bind_all(listen).await.expect("a free port"),
        };
        let admin_url = admin.first().map_or(url.clone(), Listener::to_string);
        let token = std::fs::read_to_string(config.data_dir().join("admin-token")).ok();
        let token = token.filter(|_| config.admin.token_file.is_none()).map(|token| token.trim().to_owned());
        let listeners = Listeners { http: vec![listener.into()], grpc, admin };
        let task = tokio::spawn(plimsoll::serve::serve(Arc::clone(&app), listeners, stops));
        Self {
            url,
            grpc_url,
            admin_url,
            token,
            app,
            client: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client"),
            _data: data,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// Returns the message with which a configuration is rejected.
    ///
    /// # Panics
    /// If the configuration is accepted.
    pub async fn rejection(toml: &str) -> String {
        let config = match Config::parse(toml, Path::new("test.toml")) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        let config = Config { cache_dir: Some(shared_cache()), ..config };
        App::build(&config).await.err().expect("the configuration is rejected").to_string()
    }

    /// Posts a body to a pipeline. `query` is appended to the URL, for example `?chip=wasm`.
    ///
    /// # Panics
    /// If the server does not reply.
    pub async fn infer(&self, pipeline: &str, query: &str, body: impl Into<reqwest::Body>) -> Reply {
        let url = format!("{}/v1/pipelines/{pipeline}/infer{query}", self.url);
        let response = self.client.post(url).body(body).send().await.expect("an answer");
        Reply::read(response).await
    }

    /// Sends a GET request.
    ///
    /// # Panics
    /// If the server does not reply.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Vec::new()).await
    }

    /// Posts JSON to a model of the Open Inference Protocol.
    ///
    /// # Panics
    /// If the server does not reply.
    pub async fn infer_json(&self, model: &str, request: &serde_json::Value) -> Reply {
        self.send("POST", &format!("/v2/models/{model}/infer"), &[], request.to_string().into_bytes()).await
    }

    /// The row of `/v1/memory` for a stage and an outcome.
    ///
    /// # Panics
    /// If the report is not valid JSON.
    pub async fn memory_row(&self, stage: &str, outcome: &str) -> Option<serde_json::Value> {
        let report = self.get("/v1/memory").await.json();
        let rows = report["stages"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["stage"] == stage && row["outcome"] == outcome)
    }

    /// Sends a request with any method and headers. Administration gets the token that the server made, unless the
    /// headers have an `authorization`.
    ///
    /// # Panics
    /// If the server does not reply.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let administers = ADMINISTRATION.iter().any(|prefix| path.starts_with(prefix));
        let is_given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let Some(token) = self.token.as_ref().filter(|_| administers && !is_given) else {
            return self.send_plainly(method, path, headers, body).await;
        };
        let authorization = format!("Bearer {token}");
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        self.send_plainly(method, path, &headers, body).await
    }

    /// Sends a request with these headers only, never with the token of administration.
    ///
    /// # Panics
    /// If the server does not reply.
    pub async fn send_plainly(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::read(request.send().await.expect("an answer")).await
    }

    /// Waits until the reply of pipeline `p` is `wanted`, at most one minute.
    ///
    /// # Panics
    /// If a request fails, or after one minute.
    pub async fn wait_for_reply(&self, wanted: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let reply = self.infer("p", "", "").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            if reply.text == wanted {
                return;
            }
            assert!(std::time::Instant::now() < until, "expected {wanted}, found {}", reply.text);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Waits until `GET /v1/plugins/{name}` shows a version in the state `state`, at most one minute. Returns that
    /// version.
    ///
    /// # Panics
    /// If there is no such version after one minute.
    pub async fn wait_for_state(&self, name: &str, state: &str) -> serde_json::Value {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let reply = self.get(&format!("/v1/plugins/{name}")).await;
            let versions = if reply.status == 200 { reply.json()["versions"].clone() } else { serde_json::json!([]) };
            if let Some(version) = versions.as_array().expect("a list").iter().find(|version| version["state"] == state)
            {
                return version.clone();
            }
            assert!(std::time::Instant::now() < until, "no version of {name} is {state}: {}", reply.text);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Stops the server and waits until it has stopped.
    ///
    /// # Panics
    /// If the server ends with an error.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.take().expect("once").await.expect("no panic").expect("no error");
        // A connection that is closing keeps the application alive, and a deployment or a scan that still runs on its own
        // thread keeps the deployments. Both keep the data folder, which the next server of the test may need. A separate
        // process would end both on exit.
        for _ in 0..6_000 {
            if Arc::strong_count(&self.app) == 1 && Arc::strong_count(&self.app.deployments) == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// A reply with its whole body.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as text.
    pub text: String,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Reply {
    async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("a whole body");
        Self { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes: bytes.into() }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not valid JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The member `code` of the problem document, or `ok` if the status is 200.
    ///
    /// # Panics
    /// If the status is not 200 and the body is not a problem document.
    pub fn code(&self) -> String {
        if self.status == 200 {
            return "ok".into();
        }
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// The high-water mark of a stage, from the reply's header.
    ///
    /// # Panics
    /// If the header has no entry for the stage.
    pub fn high_water(&self, stage: &str) -> u64 {
        let header = self.headers["x-plimsoll-memory"].to_str().expect("text");
        let entry = header.split(", ").find_map(|entry| entry.strip_prefix(&format!("{stage}=")));
        entry.unwrap_or_else(|| panic!("no {stage} in {header}")).parse().expect("a number")
    }
}
