//! The dashboard for Grafana, `host/deploy/helm/plimsoll/files/dashboard.json`. It is made from the list of the metrics, so it has a panel
//! for each of them and cannot name one that does not exist.
//!
//! `PLIMSOLL_WRITE_DOCS=1 cargo test --workspace dashboard` writes the file instead of comparing it.

use std::collections::BTreeSet;

use plimsoll::config::DEMO;
use plimsoll::records::metrics::MetricDescription;
use plimsoll_tests::Server;
use serde_json::{Value, json};

use crate::documents::{Page, repository};
use crate::documents_metrics::documented;

pub(crate) const FILE: &str = "host/deploy/helm/plimsoll/files/dashboard.json";

/// The panels that answer the first questions: title, unit, query, legend.
const OVERVIEW: [(&str, &str, &str, &str); 12] = [
    (
        "Requests by outcome",
        "reqps",
        "sum by (outcome) (rate(plimsoll_requests_total{FILTER}[$__rate_interval]))",
        "{{outcome}}",
    ),
    (
        "Time of a request, p99",
        "s",
        "histogram_quantile(0.99, sum by (le, pipeline) \
         (rate(plimsoll_request_duration_seconds_bucket{FILTER}[$__rate_interval])))",
        "{{pipeline}}",
    ),
    (
        "Time in the queue, p99",
        "s",
        "histogram_quantile(0.99, sum by (le, pipeline) \
         (rate(plimsoll_request_queue_seconds_bucket{FILTER}[$__rate_interval])))",
        "{{pipeline}}",
    ),
    (
        "Requests that run or wait, as a share of those that may run",
        "percentunit",
        "(sum without (pipeline) (plimsoll_requests_running{FILTER}) + sum without (pipeline) \
         (plimsoll_requests_waiting{FILTER})) / plimsoll_requests_running_limit{FILTER}",
        "{{instance}}",
    ),
    (
        "Refused requests",
        "percentunit",
        "sum by (pipeline) (rate(plimsoll_requests_total{outcome=\"no_capacity\",FILTER}[$__rate_interval])) / \
         sum by (pipeline) (rate(plimsoll_requests_total{FILTER}[$__rate_interval]))",
        "{{pipeline}}",
    ),
    (
        "Traps, memory limits and deadlines",
        "reqps",
        "sum by (pipeline, outcome) \
         (rate(plimsoll_requests_total{outcome=~\"trap|memory_limit|deadline\",FILTER}[$__rate_interval]))",
        "{{pipeline}} {{outcome}}",
    ),
    (
        "Highest mark, as a share of the cap",
        "percentunit",
        "max by (pipeline, stage, plugin, version, chip) \
         (plimsoll_stage_highest_mark_bytes{FILTER} / plimsoll_stage_memory_cap_bytes{FILTER})",
        "{{pipeline}} {{stage}} {{plugin}}@{{version}} {{chip}}",
    ),
    ("Resident memory", "bytes", "plimsoll_process_resident_bytes{FILTER}", "{{instance}}"),
    ("CPU cores in use", "none", "rate(plimsoll_process_cpu_seconds_total{FILTER}[$__rate_interval])", "{{instance}}"),
    (
        "Byte budgets in use",
        "percentunit",
        "plimsoll_budget_used_bytes{FILTER} / plimsoll_budget_limit_bytes{FILTER}",
        "{{instance}} {{budget}}",
    ),
    (
        "Versions that answer",
        "reqps",
        "sum by (plugin, version, digest) (rate(plimsoll_stage_duration_seconds_count{FILTER}[$__rate_interval]))",
        "{{plugin}}@{{version}} {{digest}}",
    ),
    ("Devices out of service", "none", "count by (model) (plimsoll_model_in_service{FILTER} == 0)", "{{model}}"),
];

/// The rows of the other panels: title, and how the names of their metrics begin. The first that fits counts.
const ROWS: [(&str, &[&str]); 8] = [
    ("Requests", &["requests_", "request_", "pipeline_", "authentication_", "handler_"]),
    ("Limits", &["budget_", "connections", "pool_", "blocked_"]),
    ("Stages", &["stage_"]),
    ("Models and devices", &["model_", "bound_", "unbound_"]),
    ("Shadow chips", &["shadow_"]),
    ("Deployments", &["deployments_", "config_", "last_scan", "failed_", "unreadable_"]),
    ("Process", &["process_", "cgroup_", "build_"]),
    ("Other", &[""]),
];

/// The filter of every query.
const FILTER: &str = "job=~\"$job\",instance=~\"$instance\"";

fn panel(title: &str, description: &str, unit: &str, queries: &[(String, String)], at: usize, top: usize) -> Value {
    let targets: Vec<Value> = queries
        .iter()
        .zip(["A", "B"])
        .map(|((query, legend), name)| json!({ "refId": name, "expr": query, "legendFormat": legend }))
        .collect();
    json!({
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": { "type": "prometheus", "uid": "${datasource}" },
        "gridPos": { "h": 8, "w": 8, "x": at % 3 * 8, "y": top + at / 3 * 8 },
        "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"] } },
        "targets": targets,
    })
}

/// The panel of a metric.
fn panel_of(metric: &MetricDescription, labels: &BTreeSet<String>, at: usize, top: usize) -> Value {
    let MetricDescription { name, kind, help } = metric;
    let shown: Vec<&str> = labels.iter().map(String::as_str).filter(|label| *label != "digest").collect();
    let legend = shown.iter().map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" ");
    let by = shown.join(", ");
    let queries = match *kind {
        "counter" => vec![(format!("sum by ({by}) (rate({name}{{{FILTER}}}[$__rate_interval]))"), legend)],
        "histogram" => [("0.5", "p50"), ("0.99", "p99")]
            .map(|(quantile, shown)| {
                let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
                let rate = format!("rate({name}_bucket{{{FILTER}}}[$__rate_interval])");
                (format!("histogram_quantile({quantile}, sum by ({by}) ({rate}))"), format!("{shown} {legend}"))
            })
            .to_vec(),
        _ => vec![(format!("{name}{{{FILTER}}}"), format!("{{{{instance}}}} {legend}").trim().to_owned())],
    };
    let base = name.trim_end_matches("_total");
    let unit = match *kind {
        _ if base.ends_with("_bytes") && *kind == "counter" => "Bps",
        _ if base.ends_with("_bytes") => "bytes",
        _ if base.ends_with("_timestamp_seconds") || base.ends_with("_start_time_seconds") => "dateTimeAsIso",
        "counter" if base.ends_with("_seconds") => "none",
        _ if base.ends_with("_seconds") => "s",
        "counter" => "cps",
        _ => "none",
    };
    panel(name, help, unit, &queries, at, top)
}

fn dashboard(metrics: &[MetricDescription]) -> Value {
    let documented = documented(&Page::read("host/docs/metrics.md"));
    let mut panels = Vec::new();
    let mut top = 0;
    let mut add_row = |title: &str, collapsed: bool, make: &dyn Fn(usize) -> Vec<Value>| {
        let inner = make(top + 1);
        let height = inner.len().div_ceil(3) * 8;
        let row = json!({
            "type": "row", "title": title, "collapsed": collapsed,
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": top },
            "panels": if collapsed { inner.clone() } else { Vec::new() },
        });
        panels.push(row);
        top += 1;
        if !collapsed {
            panels.extend(inner);
            top += height;
        }
    };
    add_row("Overview", false, &|top| {
        let overview = OVERVIEW.iter().enumerate();
        overview
            .map(|(at, (title, unit, query, legend))| {
                panel(title, "", unit, &[(query.replace("FILTER", FILTER), (*legend).to_owned())], at, top)
            })
            .collect()
    });
    let row_of = |name: &str| {
        let name = name.trim_start_matches("plimsoll_");
        ROWS.iter()
            .position(|(_, starts)| starts.iter().any(|start| name.starts_with(start)))
            .expect("the last fits all")
    };
    for (number, (title, _)) in ROWS.iter().enumerate() {
        add_row(title, true, &|top| {
            let mut of_row: Vec<_> = metrics.iter().filter(|metric| row_of(&metric.name) == number).collect();
            of_row.sort_by(|a, b| a.name.cmp(&b.name));
            let labels = |name: &str| {
                let found = documented.iter().find(|(known, _)| known == name);
                found.unwrap_or_else(|| panic!("host/docs/metrics.md has no row for {name}")).1.clone()
            };
            of_row.iter().enumerate().map(|(at, metric)| panel_of(metric, &labels(&metric.name), at, top)).collect()
        });
    }
    for (id, panel) in panels.iter_mut().enumerate() {
        panel["id"] = (id as u64 + 1).into();
    }
    let choice = |name: &str, query: &str| {
        json!({
            "name": name, "type": "query", "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "query": query, "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*",
            "current": { "text": "All", "value": "$__all" },
        })
    };
    json!({
        "uid": "plimsoll", "title": "Plimsoll", "tags": ["plimsoll"], "schemaVersion": 39, "editable": true,
        "time": { "from": "now-1h", "to": "now" }, "refresh": "30s",
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus" },
            choice("job", "label_values(plimsoll_build_info, job)"),
            choice("instance", "label_values(plimsoll_build_info{job=~\"$job\"}, instance)"),
        ] },
        "panels": panels,
    })
}

/// The queries of the dashboard, as Prometheus gets them.
pub(crate) fn queries() -> Vec<String> {
    fn add(panels: &Value, found: &mut Vec<String>) {
        for panel in panels.as_array().into_iter().flatten() {
            add(&panel["panels"], found);
            for target in panel["targets"].as_array().into_iter().flatten() {
                found.push(target["expr"].as_str().expect("a query").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    add(&serde_json::from_str::<Value>(&Page::read(FILE).text).expect("JSON")["panels"], &mut found);
    let values = [("$__rate_interval", "1m"), ("$job", ".*"), ("$instance", ".*")];
    found
        .iter()
        .map(|query| values.iter().fold(query.clone(), |text, (name, value)| text.replace(name, value)))
        .collect()
}

/// Every name of a metric in a text, without the end that a histogram adds.
pub(crate) fn metrics_in(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let words = text.split(ends).filter(|word| word.starts_with("plimsoll_"));
    words
        .map(|word| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_has_a_panel_for_each_metric_and_the_alerts_name_only_these() {
    let server = Server::start(DEMO).await;
    let metrics = server.app.records.metrics.list();
    let wanted = serde_json::to_string_pretty(&dashboard(metrics)).expect("JSON") + "\n";
    if std::env::var_os("PLIMSOLL_WRITE_DOCS").is_some() {
        std::fs::write(repository().join(FILE), &wanted).expect("written");
    }
    let known: BTreeSet<String> = metrics.iter().map(|metric| metric.name.clone()).collect();
    let shown = metrics_in(&queries().join("\n"));
    assert_eq!(shown.symmetric_difference(&known).collect::<Vec<_>>(), [""; 0], "in only one of dashboard and metrics");
    let command = "`PLIMSOLL_WRITE_DOCS=1 cargo test --workspace dashboard` writes it";
    assert!(Page::read(FILE).text == wanted, "{FILE} is not what the list of metrics gives; {command}");

    let rules = metrics_in(&Page::read("host/deploy/helm/plimsoll/files/rules.yml").text);
    assert!(rules.len() > 20, "{rules:?}");
    assert_eq!(rules.difference(&known).collect::<Vec<_>>(), [""; 0], "the alerts name these, which do not exist");
    server.stop().await;
}
