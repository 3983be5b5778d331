//! Measures the duration of deployments and rollbacks, over real HTTP and from a real folder:
//! `cargo bench --bench deploy`.
//!
//! Each figure is the median of nine versions. A deployment lasts from the moment when the file is in the plugin folder
//! until the first reply of its version. It is measured with all functions to compile ("unknown"), with a cache that has
//! the functions of the version before but not this one ("cold"), and with a warm one. A rollback lasts
//! as long as its request. The requests that look for the new version are those of a caller with a pause of a millisecond
//! between them: the p99 of their times, while nothing else happens and during the deployments with a cold cache.

use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll::base::bundled;
use plimsoll::config::Config;
use plimsoll_runtime::identity::digest;
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::{Server, TempDir, another_version, data};

const VERSIONS: u8 = 9;
const QUIET: usize = 1_000;
/// The shipped plugins without `detect-postprocess`, because the demo's model has no boxes.
const SHIPPED: [&str; 4] = ["image-preprocess", "infer-native", "infer-wasm", "classify-postprocess"];

#[tokio::main]
async fn main() {
    let figures = [
        ("bytes", 0),
        ("unknown ms", 1),
        ("cold ms", 1),
        ("warm ms", 1),
        ("rollback ms", 1),
        ("quiet p99", 2),
        ("cold p99", 2),
    ];
    let mut table = Table::new("deploy", &[("plugin", 22)], &figures);
    for name in SHIPPED {
        let folder = TempDir::new().expect("a folder");
        let unknown = deployments(name, &TempDir::new().expect("a folder"), "first", true).await;
        let cold = deployments(name, &folder, "first", false).await;
        let warm = deployments(name, &folder, "second", false).await;
        let bytes = bundled::plugin(name).expect("shipped").len();
        let times = [unknown.deployment, cold.deployment, warm.deployment, warm.rollback, cold.quiet, cold.meanwhile];
        table.row(&[name], &[&[bytes as f64], &times[..]].concat());
    }
    table
        .end(&format!("medians of {VERSIONS} versions, from the file in the folder to the first reply of its version"));
}

/// Times in milliseconds.
struct Times {
    deployment: f64,
    rollback: f64,
    /// The p99 of requests while nothing else happens.
    quiet: f64,
    /// The p99 of requests during the deployments.
    meanwhile: f64,
}

/// Medians of deploying and of rolling back nine versions, and the times of requests. The server has its own journal, and uses
/// the compiled cache in `folder`. With `forgets`, the functions of the version before are removed before each deployment, so
/// that all of its functions are compiled, as those of a plugin that was never here.
async fn deployments(name: &str, folder: &TempDir, run: &str, forgets: bool) -> Times {
    let own = folder.path().join(run);
    std::fs::create_dir_all(own.join("plugins")).expect("a folder");
    let infer = if name == "infer-wasm" { "infer-wasm" } else { "infer-native" };
    let text = format!(
        "[models.digits]\nfile = \"bundled:digits.onnx\"\n[pipelines.p]\nmodel = \"digits\"\n\
         [pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.c]\nplugin = \"{infer}\"\n[pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\", top_k = 3 }}\n\
         assets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    );
    let mut config = Config::parse(&text, &own.join("plimsoll.toml")).expect("valid");
    config.cache_dir = Some(folder.path().join("cache"));
    let server = Server::with_config(&config).await;
    let image = std::fs::read(data("digits/7.jpg")).expect("readable");

    let request = async |times: &mut Vec<Duration>| {
        let started = Instant::now();
        let reply = server.infer("p", "", image.clone()).await;
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
        reply
    };
    let (mut quiet, mut meanwhile) = (Vec::new(), Vec::new());
    for _ in 0..bench::count(QUIET) {
        request(&mut quiet).await;
    }
    let mut deployment_times = Vec::new();
    let mut rollback_times = Vec::new();
    for version in 0..VERSIONS {
        let bytes = another_version(bundled::plugin(name).expect("shipped"), version);
        let wanted = digest(&bytes)[..12].to_owned();
        if forgets {
            forget_functions(&folder.path().join("cache"));
        }
        let draft = own.join("draft");
        std::fs::write(&draft, &bytes).expect("written");
        let started = Instant::now();
        std::fs::rename(&draft, own.join(format!("plugins/{name}.wasm"))).expect("renamed");
        loop {
            let reply = request(&mut meanwhile).await;
            if reply.headers["x-plimsoll-plugins"].to_str().expect("text").contains(&wanted) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{}", reply.text);
        }
        deployment_times.push(started.elapsed());
        let started = Instant::now();
        let reply = server.send("POST", &format!("/v1/plugins/{name}/rollback"), &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        rollback_times.push(started.elapsed());
    }
    server.stop().await;
    Times {
        deployment: quantile(deployment_times, 0.5),
        rollback: quantile(rollback_times, 0.5),
        quiet: quantile(quiet, 0.99),
        meanwhile: quantile(meanwhile, 0.99),
    }
}

/// Removes the compiled functions in a cache.
fn forget_functions(cache: &Path) {
    for entry in std::fs::read_dir(cache).expect("a folder") {
        let file = entry.expect("readable").path();
        if file.extension().is_some_and(|ending| ending == "functions") {
            std::fs::remove_file(&file).expect("removed");
        }
    }
}

fn quantile(mut times: Vec<Duration>, part: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3
}
