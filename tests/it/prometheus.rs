//! Prometheus scrapes the host; the queries of the dashboard, the alerts of `host/deploy/prometheus`, and the value for
//! autoscaling.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::config::Config;
use plimsoll_tests::{Server, TempDir, guests_config, shared_cache};
use serde_json::Value;

use crate::cli::text;
use crate::dashboard::queries;
use crate::documents::{Page, repository};

const RULES: &str = "host/deploy/prometheus";
/// The labels that Prometheus gives a pod in a cluster.
const LABELS: &str = "{ namespace: demo, pod: plimsoll-0, service: plimsoll }";

/// The query for the ScaledObject, as the chart has it.
fn keda() -> String {
    let template = read(&repository().join("host/deploy/helm/plimsoll/templates/autoscaling.yaml"));
    let query = template.split("query: {{ printf \"").nth(1).expect("a query").split("\" ").next().expect("its end");
    query.replacen("%q", "\"demo\"", 1).replacen("%q", "\"plimsoll\"", 1)
}

/// The query of the adapter, from which the HorizontalPodAutoscaler has its value.
fn hpa() -> String {
    let adapter = read(&repository().join(RULES).join("adapter.yml"));
    let after = |key: &str| adapter.split(key).nth(1).expect("the key").split('\'').nth(1).expect("a text").to_owned();
    let series = after("seriesQuery:");
    let series = series.split('{').next().expect("a name");
    let query = after("metricsQuery:").replace("<<.GroupBy>>", "pod").replace("<<.Series>>", series);
    query.replace("<<.LabelMatchers>>", "namespace=\"demo\",pod=~\"plimsoll-0\"")
}

/// Runs promtool in the folder of the rules. `None` if it is not installed; then the reason is printed.
fn promtool(arguments: &[&str]) -> Option<Output> {
    match Command::new("promtool").args(arguments).current_dir(repository().join(RULES)).output() {
        Ok(output) => Some(output),
        Err(error) => {
            plimsoll_tests::skip(&format!("promtool is not installed (Debian package `prometheus`): {error}"));
            None
        }
    }
}

#[test]
fn every_alert_fires_in_its_made_up_incident() {
    let (rules, tests) =
        (Page::read("host/deploy/prometheus/rules.yml"), Page::read("host/deploy/prometheus/rules_test.yml"));
    let alerts: Vec<&str> = rules.text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    for alert in alerts {
        let silent = format!("{{ alertname: {alert}, eval_time: ");
        let fires = format!("- alertname: {alert}\n");
        assert!(tests.text.contains(&silent) && tests.text.contains(&fires), "no incident for {alert}");
        let readme = Page::read("host/deploy/README.md").text;
        assert!(readme.contains(&format!("`{alert}`")), "host/deploy/README.md does not describe {alert}");
    }
    let Some(checked) = promtool(&["check", "rules", "rules.yml"]) else { return };
    assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    let tested = promtool(&["test", "rules", "rules_test.yml"]).expect("installed");
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
}

/// A Prometheus that scrapes one host every 200 ms and evaluates the rules as often. It ends on drop.
struct Prometheus {
    child: Child,
    url: String,
    client: reqwest::Client,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts Prometheus. `None` if it is not installed; then the reason is printed.
    async fn start(server: &Server) -> Option<Self> {
        if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            plimsoll_tests::skip("prometheus is not installed (Debian package `prometheus`)");
            return None;
        }
        let mut logs = Vec::new();
        // The port is only free until another test takes it; Prometheus ends if it cannot have it.
        for _ in 0..5 {
            match Self::try_start(server).await {
                Ok(this) => return Some(this),
                Err(log) => logs.push(log),
            }
        }
        panic!("prometheus does not start: {logs:?}");
    }

    async fn try_start(server: &Server) -> Result<Self, String> {
        let folder = TempDir::new().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").port();
        let config = format!(
            "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\nrule_files: [{:?}]\nscrape_configs:\n  \
             - job_name: plimsoll\n    static_configs: [{{ targets: [{:?}], labels: {LABELS} }}]\n",
            repository().join(RULES).join("rules.yml"),
            server.url.trim_start_matches("http://"),
        );
        let (file, log) = (folder.path().join("prometheus.yml"), folder.path().join("log"));
        std::fs::write(&file, config).expect("written");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("created"))
            .spawn()
            .expect("it starts");
        let url = format!("http://127.0.0.1:{port}");
        let mut this = Self { child, url, client: reqwest::Client::new(), _folder: folder };
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = this.client.get(format!("{}/-/ready", this.url)).send().await;
            if ready.is_ok_and(|reply| reply.status().is_success()) {
                return Ok(this);
            }
            let has_ended = this.child.try_wait().expect("waited").is_some();
            if has_ended || Instant::now() > until {
                return Err(read(&log));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The result of a query.
    async fn query(&self, query: &str) -> Vec<Value> {
        let request = self.client.get(format!("{}/api/v1/query", self.url)).query(&[("query", query)]);
        let reply = request.send().await.expect("a reply").text().await.expect("text");
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        assert_eq!(reply["status"], "success", "{query}: {reply}");
        reply["data"]["result"].as_array().expect("a vector").clone()
    }

    /// The number that a query gives.
    async fn number(&self, query: &str) -> Option<f64> {
        self.query(query).await.first().map(|row| row["value"][1].as_str().expect("a text").parse().expect("a number"))
    }

    /// Repeats a query until its number is as wanted.
    async fn wait_for(&self, query: &str, is_reached: impl Fn(f64) -> bool) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let number = self.number(query).await;
            if number.is_some_and(&is_reached) {
                return;
            }
            assert!(Instant::now() < until, "{query} is {number:?}; targets: {:?}", self.query("up").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_every_metric_an_alert_fires_and_the_demand_rises_with_the_queue() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let start = format!("cache_dir = {:?}\n[deploy]\npoll = \"100ms\"\n[server]\n", shared_cache());
    let config = format!("{start}max_concurrency = 2\nmax_queue = 8\n{}", guests_config("tester", ""));
    std::fs::write(&file, &config).expect("written");
    let server = Arc::new(Server::with_config(&Config::load(Some(&file)).expect("valid")).await);
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let Some(prometheus) = Prometheus::start(&server).await else { return };
    prometheus.wait_for("up{job=\"plimsoll\"}", |up| up == 1.0).await;
    let (keda, hpa) = (keda(), hpa());
    for query in [&keda, &hpa] {
        prometheus.wait_for(query, |demand| demand == 0.0).await;
    }

    // Prometheus knows the types and the names as the host means them.
    let metadata = prometheus.client.get(format!("{}/api/v1/metadata", prometheus.url)).send().await.expect("a reply");
    let metadata: Value = serde_json::from_str(&metadata.text().await.expect("text")).expect("JSON");
    for (metric, kind) in [
        ("plimsoll_requests", "counter"),
        ("plimsoll_requests_waiting", "gauge"),
        ("plimsoll_request_queue_seconds", "histogram"),
        ("plimsoll_process_cpu_seconds", "counter"),
        ("plimsoll_build_info", "gauge"),
    ] {
        assert_eq!(metadata["data"][metric][0]["type"], kind, "{metric}: {}", metadata["data"][metric]);
    }
    // Those of idle pipelines and of devices have no series here.
    let queries = queries();
    assert!(queries.len() > 60, "{} queries", queries.len());
    for query in &queries {
        prometheus.query(query).await;
    }
    assert_eq!(server.infer("p", "", "").await.status, 200);
    prometheus.wait_for("sum(rate(plimsoll_requests_total{outcome=\"ok\"}[1m]))", |rate| rate > 0.0).await;

    // Two requests run and three wait.
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.infer("p", "?do=sleep&ms=60000", "").await.status })
        })
        .collect();
    prometheus.wait_for(&keda, |demand| demand == 2.5).await;
    // An average over a minute.
    prometheus.wait_for(&hpa, |demand| demand > 0.5).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    prometheus.wait_for(&keda, |demand| demand == 0.0).await;

    let alert = "count(ALERTS{alertname=\"PlimsollConfigRefused\",alertstate=\"firing\"}) or vector(0)";
    assert_eq!(prometheus.number(alert).await, Some(0.0));
    std::fs::write(&file, "nonsense = true\n").expect("written");
    prometheus.wait_for(alert, |firing| firing == 1.0).await;
    std::fs::write(&file, &config).expect("written");
    prometheus.wait_for(alert, |firing| firing == 0.0).await;
    assert_eq!(
        prometheus.number("count(ALERTS) or vector(0)").await,
        Some(0.0),
        "{:?}",
        prometheus.query("ALERTS").await
    );
}
