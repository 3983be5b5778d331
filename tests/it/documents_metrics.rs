//! `host/docs/metrics.md` has exactly the metrics that the host registers, with their labels.

use std::collections::BTreeSet;

use plimsoll::config::DEMO;
use plimsoll_tests::{Server, data};

use crate::documents::{Page, codes};

/// The names in the first cells of the table, with their labels. Braces in a separate code belong to all names of the cell.
pub(crate) fn documented(page: &Page) -> Vec<(String, BTreeSet<String>)> {
    let mut found: Vec<(String, BTreeSet<String>)> = Vec::new();
    for row in page.rows().iter().filter(|row| row[0].starts_with("`plimsoll_")) {
        let first = found.len();
        for code in codes(&row[0]) {
            let (name, labels) = code.split_once('{').unwrap_or((code, ""));
            let labels: BTreeSet<String> = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty())
                .flat_map(|label| match label {
                    "STAGE" => vec!["pipeline", "stage", "plugin", "version", "digest", "chip", "outcome"],
                    label => vec![label],
                })
                .map(str::to_owned)
                .collect();
            match name {
                "" => found[first..].iter_mut().for_each(|found| found.1.extend(labels.clone())),
                name => found.push((name.to_owned(), labels)),
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_of_the_documents_are_those_of_the_host() {
    let server = Server::start(DEMO).await;
    let registered: BTreeSet<String> =
        server.app.records.metrics.list().iter().map(|metric| metric.name.clone()).collect();
    let page = documented(&Page::read("host/docs/metrics.md"));
    let names: BTreeSet<String> = page.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), page.len(), "a metric has two rows");
    assert_eq!(names.difference(&registered).collect::<Vec<_>>(), [""; 0], "the host does not have these metrics");
    assert_eq!(registered.difference(&names).collect::<Vec<_>>(), [""; 0], "the page does not have these metrics");

    // The names are those that a scrape shows, and so are the labels.
    let picture = std::fs::read(data("digits/7.jpg")).expect("a picture");
    assert_eq!(server.infer("digits", "", picture).await.status, 200);
    let scrape = server.get("/metrics").await.text;
    let mut compared = 0;
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let (_, wanted) = page.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name} is not there"));
        let labels: BTreeSet<String> = labels
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| label.split_once('=').map(|(name, _)| name.to_owned()))
            .filter(|label| label != "le")
            .collect();
        assert_eq!(labels, *wanted, "{line}");
        compared += 1;
    }
    assert!(compared > 100, "{compared} series");
    server.stop().await;
}
