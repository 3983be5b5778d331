//! A deployment to several servers that is taken back leaves nothing behind.

use std::time::{Duration, Instant};

use plimsoll_tests::stamped_reply;

use crate::cli::text;
use crate::fleet_hosts::{Host, file, larger, most, plugin, replies, urls};
use crate::process::PATIENCE;

/// The versions of the plugin with their states. The counts of runs differ.
fn versions(host: &Host) -> Vec<Vec<String>> {
    let listed = text(&plugin(&["list"], &[&host.url]).stdout);
    let rows = listed.lines().filter(|line| line.starts_with("stamp ") && !line.contains(" refused "));
    rows.map(|line| line.split_whitespace().take(4).map(str::to_owned).collect()).collect()
}

#[test]
fn what_was_taken_back_is_no_previous_version_and_may_be_deployed_again() {
    let hosts = [Host::new(""), Host::new(""), Host::new(&format!("[deploy]\nmax_plugin = {}\n", most()))];
    assert_eq!(plugin(&["deploy", &file(&hosts[0].site, 2)], &urls(&hosts)).status.code(), Some(0));
    assert_eq!(plugin(&["rollback", "stamp"], &urls(&hosts)).status.code(), Some(0));
    let before: Vec<_> = hosts.iter().map(versions).collect();
    assert_eq!(before[0].len(), 2, "{before:?}");
    let larger = larger(&hosts[0].site);
    let output = plugin(&["deploy", &larger], &urls(&hosts));
    assert!(text(&output.stderr).contains("no server was changed"), "{}", text(&output.stderr));
    assert_eq!(replies(&hosts), [0, 0, 0].map(stamped_reply));
    assert_eq!(hosts.iter().map(versions).collect::<Vec<_>>(), before);

    // A file of the version serves where it is dropped in, as on a server that never had it.
    hosts[0].site.drop_in("stamp.wasm", &std::fs::read(&larger).expect("written"));
    let until = Instant::now() + PATIENCE;
    while hosts[0].reply() != stamped_reply(1) {
        assert!(Instant::now() < until, "{}", text(&plugin(&["list"], &[&hosts[0].url]).stdout));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// It was a previous version before, at its place, and still is.
#[test]
fn an_older_version_whose_deployment_was_taken_back_is_still_a_previous_version() {
    let hosts = [Host::new(""), Host::new(&format!("[deploy]\nmax_plugin = {}\n", most()))];
    let larger = larger(&hosts[0].site);
    for file in [larger.clone(), file(&hosts[0].site, 2), file(&hosts[0].site, 3)] {
        assert_eq!(plugin(&["deploy", &file], &[&hosts[0].url]).status.code(), Some(0));
    }
    let before = versions(&hosts[0]);
    assert_eq!(before.len(), 4, "{before:?}");
    let output = plugin(&["deploy", &larger], &urls(&hosts));
    assert!(text(&output.stderr).contains("no server was changed"), "{}", text(&output.stderr));
    assert_eq!(versions(&hosts[0]), before);
    assert_eq!(plugin(&["rollback", "stamp"], &[&hosts[0].url]).status.code(), Some(0));
    assert_eq!(hosts[0].reply(), stamped_reply(2));
}
