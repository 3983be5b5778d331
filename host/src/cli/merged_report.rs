//! Adds up the memory reports of several servers. Percentiles are those of all runs together, because the reports have the
//! marks of all runs (`GET /v1/memory?marks=true`). Windows have only figures, so theirs are the highest of any server.

use std::collections::BTreeMap;

use plimsoll_runtime::cap::PAGE;
use serde_json::{Map, Value, json};

use crate::records::memory::advice::{Advice, Needs};

/// The members that identify a row of `stages`.
const KEY: [&str; 7] = ["pipeline", "stage", "plugin", "version", "digest", "chip", "outcome"];
/// The outcomes of runs that say nothing about the memory that a stage needs.
const UNCOUNTED: [&str; 2] = ["cancelled", "no_capacity"];

/// A report has no marks, so it cannot be added to others.
#[derive(Debug, thiserror::Error)]
#[error("a memory report has no `marks`, so it cannot be added to others: save it from /v1/memory?marks=true")]
pub(in crate::cli) struct NoMarks;

/// Adds up reports. A single one stays as it is.
///
/// # Errors
/// If there are several and one has no marks.
pub(in crate::cli) fn merge(mut reports: Vec<Value>) -> Result<Value, NoMarks> {
    if reports.len() < 2 {
        return Ok(reports.pop().unwrap_or_default());
    }
    let all = |name: &'static str| reports.iter().flat_map(move |report| rows(&report[name]));
    let stages = stages(all("stages"))?;
    let advice = all("advice").filter_map(|advice| serde_json::from_value::<Advice>(advice.clone()).ok());
    let callers = |list: &str, by: &str| {
        let mut merged = merged_callers(reports.iter().flat_map(|report| rows(&report["callers"][list])));
        merged.sort_by_key(|row| std::cmp::Reverse(row[by].as_u64()));
        merged
    };
    let mut latest: Vec<Value> = all("latest").cloned().collect();
    latest.sort_by(|a, b| b["started"].as_str().cmp(&a["started"].as_str()));
    let first = reports.iter().map(|report| report["uptime_seconds"].as_f64().unwrap_or(0.0));
    Ok(json!({
        "time": reports.iter().filter_map(|report| report["time"].as_str()).max(),
        "servers": reports.len(),
        "uptime_seconds": first.fold(f64::INFINITY, f64::min),
        "process": sums(reports.iter().map(|report| &report["process"])),
        "pool": sums(reports.iter().map(|report| &report["pool"])),
        "advice": merged_advice(advice, &stages),
        "stages": stages,
        "models": all("models").collect::<Vec<_>>(),
        "callers": {
            "header": reports[0]["callers"]["header"],
            "by_bytes": callers("by_bytes", "bytes"),
            "by_requests": callers("by_requests", "requests"),
        },
        "latest": latest,
    }))
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The sum of each number.
fn sums<'a>(objects: impl Iterator<Item = &'a Value>) -> Value {
    let mut sums = Map::new();
    for (name, value) in objects.filter_map(Value::as_object).flatten() {
        if let Some(number) = value.as_u64() {
            let sum = sums.get(name).and_then(Value::as_u64).unwrap_or(0);
            sums.insert(name.clone(), (sum + number).into());
        }
    }
    sums.into()
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or(0)
}

/// Adds the marks of a row to a histogram of pages.
fn add_marks(row: &Value, needs: &mut Needs) -> Result<(), NoMarks> {
    for mark in row["marks"].as_array().ok_or(NoMarks)? {
        let (Some(pages), Some(runs)) = (mark[0].as_u64(), mark[1].as_u64()) else { return Err(NoMarks) };
        // The histogram grows with its values.
        let _ = needs.pages.record_n(pages, runs);
    }
    needs.max = needs.max.max(number(row, "max"));
    Ok(())
}

fn stages<'a>(all: impl Iterator<Item = &'a Value>) -> Result<Vec<Value>, NoMarks> {
    let mut merged: BTreeMap<Vec<String>, (Vec<&Value>, Needs)> = BTreeMap::new();
    for row in all {
        let key = KEY.iter().map(|name| row[*name].as_str().unwrap_or_default().to_owned()).collect();
        let (rows, needs) = merged.entry(key).or_default();
        add_marks(row, needs)?;
        rows.push(row);
    }
    let merged = merged.into_values().map(|(rows, needs)| {
        let mut row = rows[0].clone();
        let highest = |name: &str| rows.iter().map(|row| number(row, name)).max().unwrap_or(0);
        for name in ["max", "initial", "grown_max", "host_max", "resources_max", "max_memory"] {
            row[name] = highest(name).into();
        }
        let refused: u64 = rows.iter().map(|row| number(row, "refused_growths")).sum();
        row["refused_growths"] = refused.into();
        row["count"] = needs.pages.len().into();
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            row[name] = (needs.pages.value_at_quantile(quantile) * PAGE).min(needs.max).into();
        }
        let marks = needs.pages.iter_recorded().map(|value| [value.value_iterated_to(), value.count_at_value()]);
        row["marks"] = json!(marks.collect::<Vec<_>>());
        row["windows"] = windows(&rows);
        row
    });
    Ok(merged.collect())
}

fn windows(rows: &[&Value]) -> Value {
    let names = rows[0]["windows"].as_object().into_iter().flatten().map(|(name, _)| name);
    let merged = names.map(|name| {
        let all = || rows.iter().map(|row| &row["windows"][name]);
        let mut figures = Map::new();
        figures.insert("count".into(), all().map(|window| number(window, "count")).sum::<u64>().into());
        for figure in ["max", "p50", "p90", "p99"] {
            figures.insert(figure.into(), all().map(|window| number(window, figure)).max().into());
        }
        (name.clone(), figures.into())
    });
    Value::Object(merged.collect())
}

fn merged_callers<'a>(all: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut merged: BTreeMap<&str, Value> = BTreeMap::new();
    for row in all {
        let name = row["caller"].as_str().unwrap_or_default();
        let Some(known) = merged.get_mut(name) else {
            merged.insert(name, row.clone());
            continue;
        };
        for name in ["requests", "bytes"] {
            known[name] = (number(known, name) + number(row, name)).into();
        }
        known["max"] = number(known, "max").max(number(row, "max")).into();
        known["outcomes"] = sums([&known["outcomes"], &row["outcomes"]].into_iter());
    }
    merged.into_values().collect()
}

/// The advice for the runs of all servers.
fn merged_advice(all: impl Iterator<Item = Advice>, stages: &[Value]) -> Vec<Advice> {
    let mut merged: Vec<Advice> = Vec::new();
    for advice in all {
        let is_same = |known: &&mut Advice| {
            let of = |it: &Advice| (it.key(), it.plugin.clone(), it.version.clone(), it.digest.clone());
            of(known) == of(&advice)
        };
        match merged.iter_mut().find(is_same) {
            Some(known) => {
                known.limit_met += advice.limit_met;
                known.max = known.max.max(advice.max);
                known.max_memory = known.max_memory.min(advice.max_memory);
            }
            None => merged.push(advice),
        }
    }
    for advice in &mut merged {
        let mut needs = Needs { max: advice.max, ..Needs::default() };
        for row in stages {
            let is = |name: &str, value: &str| row[name] == value;
            let is_of = is("pipeline", &advice.pipeline)
                && is("stage", &advice.stage)
                && is("digest", &advice.digest)
                && is("plugin", &advice.plugin)
                && advice.chip.as_ref().is_none_or(|chip| is("chip", chip));
            if is_of && !UNCOUNTED.iter().any(|outcome| is("outcome", outcome)) {
                // The rows are those that were merged, so they have marks.
                let _ = add_marks(row, &mut needs);
            }
        }
        (advice.runs, advice.p999) = needs.figures();
        *advice = advice.clone().judged(advice.max_memory);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(marks: &[(u64, u64)], cap: u64) -> Value {
        let runs: u64 = marks.iter().map(|(_, runs)| runs).sum();
        let max = marks.iter().map(|(pages, _)| pages * PAGE).max().unwrap_or(0);
        let row = json!({
            "pipeline": "p", "stage": "infer", "plugin": "x", "version": "1", "digest": "d", "chip": "c", "outcome": "ok",
            "count": runs, "max": max, "p50": 0, "p90": 0, "p99": 0, "initial": 5, "grown_max": 7, "refused_growths": 1,
            "host_max": 0, "resources_max": 0, "max_memory": cap, "marks": marks,
            "windows": { "1m": { "count": runs, "max": max, "p50": 1, "p90": 2, "p99": max } },
        });
        let advice = json!({
            "pipeline": "p", "stage": "infer", "chip": "c", "plugin": "x", "version": "1", "digest": "d", "runs": runs,
            "p999": 0, "max": max, "limit_met": 0, "max_memory": cap, "recommended": 0,
        });
        json!({
            "time": "2026-01-01T00:00:00Z", "uptime_seconds": 5.0, "process": { "resident_bytes": 10 }, "pool": null,
            "stages": [row], "models": [], "advice": [advice],
            "callers": { "header": "h", "by_requests": [], "by_bytes": [
                { "caller": "acme", "requests": 2, "bytes": 3, "max": max, "outcomes": { "ok": 2 } },
            ] },
        })
    }

    #[test]
    fn percentiles_are_those_of_all_runs_together() {
        // 990 small runs and 10 large ones: alone, the second report would have a p50 of 100 pages.
        let merged = merge(vec![report(&[(10, 990)], 64 << 20), report(&[(100, 10)], 32 << 20)]).expect("marks");
        let row = &merged["stages"][0];
        assert_eq!(
            (&row["count"], &row["p50"], &row["p99"]),
            (&1_000.into(), &(10 * PAGE).into(), &(10 * PAGE).into())
        );
        assert_eq!((&row["max"], &row["refused_growths"]), (&(100 * PAGE).into(), &2.into()));
        assert_eq!(row["windows"]["1m"]["count"], 1_000);
        assert_eq!(merged["process"]["resident_bytes"], 20);
        let caller = &merged["callers"]["by_bytes"][0];
        assert_eq!(
            (&caller["requests"], &caller["bytes"], &caller["outcomes"]["ok"]),
            (&4.into(), &6.into(), &4.into())
        );
        let advice: Advice = serde_json::from_value(merged["advice"][0].clone()).expect("advice");
        assert_eq!((advice.runs, advice.p999, advice.max_memory), (1_000, 100 * PAGE, 32 << 20));
        assert_eq!(advice.recommended, 125 * PAGE);
        assert_eq!(merged["advice"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn one_report_needs_no_marks_and_several_do() {
        let mut without = report(&[(1, 1)], 1);
        without["stages"][0]["marks"].take();
        assert_eq!(merge(vec![without.clone()]).expect("one"), without);
        assert!(merge(vec![without, report(&[(1, 1)], 1)]).is_err());
    }
}
