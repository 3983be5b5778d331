//! Reports of the leak laboratory that were copied into the data folder: `leak-reports/NAME/`.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use plimsoll_runtime::identity::check_plugin_name;
use serde::{Deserialize, Serialize};

use crate::base::file_access::within_time;
use crate::base::files::{check_no_link, read_unlinked};

/// The folder of the reports in the data folder.
pub const FOLDER: &str = "leak-reports";
/// The files of a report that may be read.
pub const FILES: [&str; 5] = ["report.json", "growth.svg", "flame.svg", "growth.csv", "retention.dot"];
/// The most reports that are listed.
const MOST: usize = 100;
/// The most bytes of a file.
const MAX_FILE: u64 = 32 << 20;
/// The most bytes of a `report.json` that is listed.
const MAX_LISTED: u64 = 8 << 20;
/// The most leaks of a report that are listed.
const MOST_LEAKS: usize = 20;
/// The most holders, call stacks and functions of a call stack that are listed of each.
const MOST_PARTS: usize = 8;
/// The most characters of each of their texts.
const LONGEST: usize = 400;

/// The part of a `report.json` that is listed. A report of another version may have fewer members.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ListedReport {
    conclusion: String,
    leaks: Vec<ListedLeak>,
    plugin: ListedPlugin,
    rounds: u64,
    samples: u64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct ListedPlugin {
    name: String,
    version: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct ListedLeak {
    place: String,
    measure: String,
    per_request: f64,
    holders: Vec<String>,
    allocated_by: Vec<Vec<String>>,
    known: Option<String>,
}

/// A report, with the content of its `report.json`.
pub struct LeakReport {
    /// The name of its folder.
    pub name: String,
    /// When it was written.
    pub at: SystemTime,
    /// `report.json`; an error if it cannot be read.
    pub content: Result<ListedReport, String>,
}

/// Lists the reports, the newest first. Without the folder there are none.
///
/// # Errors
/// The I/O error if the folder cannot be read in time.
pub fn list(folder: &Path) -> io::Result<Vec<LeakReport>> {
    let listed = folder.to_owned();
    let found = within_time(folder, move || {
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&listed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().filter(|name| is_name(name));
            // A report that is a link is listed with its error.
            let written = entry.path().join(FILES[0]).symlink_metadata().and_then(|data| data.modified());
            found.extend(name.zip(written.ok()));
        }
        Ok(found)
    });
    let mut found = found?;
    found.sort_by(|(a, first), (b, second)| second.cmp(first).then_with(|| a.cmp(b)));
    found.truncate(MOST);
    // One after the other: only the listed part of a report stays in memory.
    let read = |(name, at): (String, SystemTime)| {
        let content = read_report_file(folder, &name, FILES[0], MAX_LISTED);
        let content = content.map_err(|error| error.to_string()).and_then(|bytes| parsed(&bytes));
        LeakReport { name, at, content }
    };
    Ok(found.into_iter().map(read).collect())
}

/// Reads a file of a report. `None` if there is no such file.
///
/// # Errors
/// The I/O error if the file cannot be read in time.
pub fn read(folder: &Path, name: &str, file: &str) -> io::Result<Option<Vec<u8>>> {
    if !is_name(name) || !FILES.contains(&file) {
        return Ok(None);
    }
    match read_report_file(folder, name, file, MAX_FILE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Somebody else may have made the report, so neither its folder nor its files may be links to other places.
fn read_report_file(folder: &Path, name: &str, file: &str, limit: u64) -> io::Result<Vec<u8>> {
    let report = folder.join(name);
    let checked = report.clone();
    within_time(&report, move || check_no_link(&checked))?;
    read_unlinked(&report.join(file), limit)
}

/// The part of a `report.json` that is listed.
fn parsed(bytes: &[u8]) -> Result<ListedReport, String> {
    // A list of the values would be accepted as an object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("report.json is no JSON object: an object is expected".to_owned());
    }
    let mut report: ListedReport =
        serde_json::from_slice(bytes).map_err(|error| format!("report.json is no report: {error}"))?;
    for text in [&mut report.conclusion, &mut report.plugin.name, &mut report.plugin.version] {
        shorten(text);
    }
    cut(&mut report.leaks, MOST_LEAKS);
    for leak in &mut report.leaks {
        [&mut leak.place, &mut leak.measure].into_iter().chain(leak.known.as_mut()).for_each(shorten);
        cut(&mut leak.allocated_by, MOST_PARTS);
        for texts in leak.allocated_by.iter_mut().chain([&mut leak.holders]) {
            cut(texts, MOST_PARTS);
            texts.iter_mut().for_each(shorten);
        }
    }
    Ok(report)
}

fn cut<T>(list: &mut Vec<T>, most: usize) {
    list.truncate(most);
    list.shrink_to_fit();
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}

/// The name of a folder cannot leave the folder of the reports.
fn is_name(name: &str) -> bool {
    check_plugin_name(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_with_the_types_of_a_report_is_listed() {
        for text in
            ["[1]", "[]", "5", "\"x\"", "true", "null", "", "{\"leaks\":\"x\"}", "{\"leaks\":[{\"holders\":5}]}"]
        {
            assert!(parsed(text.as_bytes()).is_err_and(|error| error.contains("expected")), "{text}");
        }
        let report = format!(" {{\"leaks\":[{{\"place\":\"{}\"}}],\"calls\":[1]}}", "ä".repeat(2000));
        let report = parsed(report.as_bytes()).expect("a report");
        assert_eq!((report.leaks[0].place.chars().count(), report.rounds), (LONGEST + 1, 0));
    }
}
