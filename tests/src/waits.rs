//! Waits for what a server does, instead of sleeping.

use std::time::{Duration, Instant};

use crate::Server;

impl Server {
    /// Waits until a metric has at least this value, at most one minute. `name` has the labels, too.
    ///
    /// # Panics
    /// After one minute.
    pub async fn wait_for_metric(&self, name: &str, least: f64) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let metrics = self.client.get(format!("{}/metrics", self.admin_url)).send().await.expect("an answer");
            let metrics = metrics.text().await.expect("text");
            let value =
                metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
            if value.is_some_and(|value| value >= least) {
                return;
            }
            assert!(Instant::now() < until, "{name} is never {least}: {value:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many guests run, at most one minute. Then their requests were received and admitted.
    ///
    /// # Panics
    /// After one minute.
    pub async fn wait_for_guests(&self, least: u64) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.app.runtime.pool_usage().expect("a pool").component_instances < least {
            assert!(Instant::now() < until, "not {least} guests run");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
