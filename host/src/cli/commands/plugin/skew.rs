//! Which servers serve which versions.

use plimsoll_runtime::text::printable;
use serde_json::Value;

use super::requests::MAX_TEXT;

/// The plugins of which the servers serve different versions, with their digests and servers, a line for each.
pub(super) fn skew(views: &[(String, Value)]) -> Vec<String> {
    let serving = |view: &Value, plugin: &str| {
        let plugins = view["plugins"].as_array().into_iter().flatten();
        let mut found = plugins.filter(|view| view["name"] == plugin);
        found.next().and_then(|view| view["digest"].as_str()).unwrap_or("none").to_owned()
    };
    let mut plugins: Vec<&str> = views
        .iter()
        .flat_map(|(_, view)| view["plugins"].as_array().into_iter().flatten())
        .filter_map(|plugin| plugin["name"].as_str())
        .collect();
    plugins.sort_unstable();
    plugins.dedup();
    let mut lines = Vec::new();
    for plugin in plugins {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for (server, view) in views {
            let digest = serving(view, plugin);
            match groups.iter_mut().find(|(known, _)| *known == digest) {
                Some((_, servers)) => servers.push(server),
                None => groups.push((digest, vec![server])),
            }
        }
        if groups.len() > 1 {
            let of = |(digest, servers): &(String, Vec<&str>)| {
                let short: String = digest.chars().take(12).collect();
                format!("{short} on {}", servers.join(", "))
            };
            let groups = groups.iter().map(of).collect::<Vec<_>>().join("; ");
            lines.push(printable(&format!("skew: {plugin}: {groups}"), MAX_TEXT));
        }
    }
    lines
}
