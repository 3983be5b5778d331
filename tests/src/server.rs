//! A real server in the process of a test, and what it answers.

use std::path::Path;
use std::sync::Arc;

use plimsoll::config::Config;
use plimsoll::serve::App;
use plimsoll::serve::Listeners;
use tempfile::TempDir;

use crate::shared_cache;

/// A server of this process on a free port of the loopback interface.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// `http://127.0.0.1:PORT` of gRPC, which is the same unless the configuration has another listener.
    pub grpc_url: String,
    /// Its application, for what no route shows.
    pub app: Arc<App>,
    /// For requests.
    pub client: reqwest::Client,
    /// The folder in which its deployments are remembered, unless the configuration names one.
    _data: TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Serves the configuration in `toml`; relative paths start at the current folder.
    ///
    /// # Panics
    /// When the configuration is refused; [`Server::refused`] is for that.
    pub async fn start(toml: &str) -> Self {
        let config = Config::parse(toml, Path::new("test.toml")).expect("the configuration parses");
        Self::of(&config).await
    }

    /// Serves a configuration.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub async fn of(config: &Config) -> Self {
        plimsoll::base::telemetry::start(plimsoll::base::telemetry::LogFormat::Human);
        let data = tempfile::tempdir().expect("a folder");
        let mut config = config.clone();
        config.data_dir.get_or_insert_with(|| data.path().to_owned());
        config.cache_dir.get_or_insert_with(shared_cache);
        let app = Arc::new(App::open(&config).await.expect("the configuration is served"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let grpc = match config.server.grpc_listen {
            None => None,
            Some(address) => Some(tokio::net::TcpListener::bind(address).await.expect("a free port")),
        };
        let grpc_url =
            grpc.as_ref().map_or(url.clone(), |grpc| format!("http://{}", grpc.local_addr().expect("bound")));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(plimsoll::serve::serve(Arc::clone(&app), Listeners { http: listener, grpc }, shutdown));
        Self { url, grpc_url, app, client: reqwest::Client::new(), _data: data, stop: Some(stop), task: Some(task) }
    }

    /// The message with which a configuration is refused.
    ///
    /// # Panics
    /// When it is served.
    pub async fn refused(toml: &str) -> String {
        let config = match Config::parse(toml, Path::new("test.toml")) {
            Ok(config) => config,
            Err(error) => return error.to_string(),
        };
        let config = Config { cache_dir: Some(shared_cache()), ..config };
        App::build(&config).await.err().expect("the configuration is refused").to_string()
    }

    /// Posts a body to a pipeline; `query` is appended, for example `?chip=wasm`.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn infer(&self, pipeline: &str, query: &str, body: impl Into<reqwest::Body>) -> Reply {
        let url = format!("{}/v1/pipelines/{pipeline}/infer{query}", self.url);
        let response = self.client.post(url).body(body).send().await.expect("an answer");
        Reply::of(response).await
    }

    /// Gets a route.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.client.get(format!("{}{path}", self.url)).send().await.expect("an answer")).await
    }

    /// Posts JSON to a model of the Open Inference Protocol.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn infer_json(&self, model: &str, request: &serde_json::Value) -> Reply {
        self.send("POST", &format!("/v2/models/{model}/infer"), &[], request.to_string().into_bytes()).await
    }

    /// The row of `/v1/memory` for a stage and outcome.
    ///
    /// # Panics
    /// When the report is no JSON.
    pub async fn memory_row(&self, stage: &str, outcome: &str) -> Option<serde_json::Value> {
        let report = self.get("/v1/memory").await.json();
        let rows = report["stages"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["stage"] == stage && row["outcome"] == outcome)
    }

    /// Sends a request with a method of its own.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(request.send().await.expect("an answer")).await
    }

    /// Waits until the pipeline `p` replies so; at most a minute.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until_reply(&self, wanted: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let reply = self.infer("p", "", "").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            if reply.text == wanted {
                return;
            }
            assert!(std::time::Instant::now() < until, "{wanted} is wanted, {} is served", reply.text);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Waits until `GET /v1/plugins/{name}` shows a version in this state, and gives that version; at most a minute.
    ///
    /// # Panics
    /// When there is none.
    pub async fn until_state(&self, name: &str, state: &str) -> serde_json::Value {
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

    /// Asks the server to stop and waits until it has.
    ///
    /// # Panics
    /// When it ends with an error.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.task.take().expect("once").await.expect("no panic").expect("no error");
        // A change that goes on, or a connection that is closing, still holds the application, and with it the data
        // folder that the next server of a test may want. In a process of its own they would have ended with it.
        for _ in 0..1_000 {
            if Arc::strong_count(&self.app) == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// An answer, read whole.
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
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("a whole body");
        Self { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes: bytes.into() }
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The member `code` of a problem, or `ok`.
    ///
    /// # Panics
    /// When an error is not a problem.
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
    /// When there is no such entry.
    pub fn high_water(&self, stage: &str) -> u64 {
        let header = self.headers["x-plimsoll-memory"].to_str().expect("text");
        let entry = header.split(", ").find_map(|entry| entry.strip_prefix(&format!("{stage}=")));
        entry.unwrap_or_else(|| panic!("no {stage} in {header}")).parse().expect("a number")
    }
}
