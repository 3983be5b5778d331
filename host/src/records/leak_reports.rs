//! Reports of the leak laboratory that were copied into the data folder: `leak-reports/NAME/`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use plimsoll_runtime::identity::check_plugin_name;
use serde_json::Value;

use crate::base::file_access::within_time;
use crate::base::files::read_regular;

/// The folder of the reports in the data folder.
pub const FOLDER: &str = "leak-reports";
/// The files of a report that may be read.
pub const FILES: [&str; 5] = ["report.json", "growth.svg", "flame.svg", "growth.csv", "retention.dot"];
/// The most reports that are listed.
const MOST: usize = 100;
/// The most bytes of a file.
const MAX_FILE: u64 = 32 << 20;

/// A report, with the content of its `report.json`.
pub struct LeakReport {
    /// The name of its folder.
    pub name: String,
    /// When it was written.
    pub at: SystemTime,
    /// `report.json`; an error if it cannot be read.
    pub content: Result<Value, String>,
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
            let written = entry.path().join(FILES[0]).metadata().and_then(|data| data.modified());
            found.extend(name.zip(written.ok()));
        }
        Ok(found)
    });
    let mut found = found?;
    found.sort_by(|(a, first), (b, second)| second.cmp(first).then_with(|| a.cmp(b)));
    found.truncate(MOST);
    let read = |(name, at): (String, SystemTime)| {
        let bytes = read_regular(&folder.join(&name).join(FILES[0]), MAX_FILE).map_err(|error| error.to_string());
        let content = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
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
    let path: PathBuf = folder.join(name).join(file);
    match read_regular(&path, MAX_FILE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a folder cannot leave the folder of the reports.
fn is_name(name: &str) -> bool {
    check_plugin_name(name).is_ok()
}
