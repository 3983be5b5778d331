//! The output of a study: a summary for the terminal, and files.
//!
//! | file | contents |
//! | --- | --- |
//! | `report.html` | everything, in one page that loads no other files |
//! | `report.json` | the conclusion, the leaks and the [`Study`], for programs and as a baseline |
//! | `growth.csv`, `growth.svg` | each call and the memory held after it; a chart of bytes over requests by class |
//! | `heap.pb.gz`, `flame.svg` | the call stacks that allocated: a profile for `pprof`, and a flame graph |
//! | `retention.dot` | what holds the survivors, for Graphviz |

mod dot;
mod error;
mod flame;
mod growth;
#[cfg(test)]
mod hostile_names;
mod html;
mod pprof;
mod remarks;
mod summary;

use std::path::Path;

use serde::Serialize;

pub use error::ReportError;
pub use summary::summary;

use super::conclusion::Conclusion;
use super::corpus::Sample;
use super::finding::Study;
use super::known::Leak;
use plimsoll_runtime::text::grouped;

/// The contents of `report.json`.
#[derive(Serialize)]
struct Contents<'a> {
    conclusion: Conclusion,
    leaks: &'a [Leak],
    #[serde(flatten)]
    study: &'a Study,
}

/// Writes all files into a folder. Creates the folder if it does not exist.
///
/// # Errors
/// If a file cannot be written; the message names it.
pub fn write(study: &Study, leaks: &[Leak], samples: &[Sample], folder: &Path) -> Result<(), ReportError> {
    std::fs::create_dir_all(folder).map_err(|error| ReportError::Folder { folder: folder.to_owned(), error })?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| ReportError::not_written(&path, error))
    };
    let json = serde_json::to_vec_pretty(&Contents { conclusion: Conclusion::of(study, leaks), leaks, study })
        .map_err(|error| ReportError::content("report.json", error))?;
    let chart = growth::svg(study)?;
    let flame = flame::svg(study)?;
    let dot = dot::graph(study);
    put("report.json", &json)?;
    put("growth.csv", growth::csv(study, samples)?.as_bytes())?;
    put("growth.svg", chart.as_bytes())?;
    put("retention.dot", dot.as_bytes())?;
    // Without call stacks there is no profile. The profile of an earlier study is removed, so that it is not mistaken
    // for the new one.
    for (name, bytes) in [("heap.pb.gz", pprof::profile(study)?), ("flame.svg", flame.clone().map(String::into_bytes))]
    {
        match bytes {
            Some(bytes) => put(name, &bytes)?,
            None => match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ReportError::NotRemoved { name, error });
                }
                _ => {}
            },
        }
    }
    put("report.html", html::page(study, Conclusion::of(study, leaks), &chart, flame.as_deref(), &dot).as_bytes())
}

/// Bytes per request with its confidence interval.
fn per_request(growth: &super::verdict::Growth) -> String {
    let sign = if growth.bytes <= -0.5 { "-" } else { "" };
    let mean = grouped(growth.bytes.abs().round() as u64);
    format!("{sign}{mean} ± {}", grouped(growth.bytes_within.round() as u64))
}
