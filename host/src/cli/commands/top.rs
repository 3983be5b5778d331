//! `plimsoll top`: the memory report of a running server, or of several together, live in the terminal.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use humantime_serde::re::humantime::{DurationError, format_duration, parse_duration};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use crate::cli::administration::{Administrated, Administration};
use crate::cli::error::Error;
use crate::cli::merged_report::merge;
use crate::cli::output::out;
use crate::cli::table;

/// Maximum number of callers that are shown.
const CALLERS: usize = 10;
/// Maximum number of the latest requests that are shown.
const REQUESTS: usize = 10;
/// The shortest interval. Faster polling would load the server noticeably.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Time-out of a request to the server, because keys are not read while a request waits.
const TIME_OUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(in crate::cli) struct Top {
    #[command(flatten)]
    server: Administration,
    /// Print the report once as plain text, then exit.
    #[arg(long)]
    once: bool,
    /// The time between two requests for the report.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
}

/// A text that is not a valid interval.
#[derive(Debug, thiserror::Error)]
enum InvalidInterval {
    #[error("{0}; write it as `2s` or `500ms`")]
    NotADuration(DurationError),
    #[error("the shortest interval is {}", format_duration(MIN_INTERVAL))]
    TooShort,
}

fn interval(text: &str) -> Result<Duration, InvalidInterval> {
    let interval = parse_duration(text).map_err(InvalidInterval::NotADuration)?;
    if interval < MIN_INTERVAL { Err(InvalidInterval::TooShort) } else { Ok(interval) }
}

impl Top {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let clients = self.server.clients(Some(TIME_OUT)).await?;
        let first = fetch_all(&clients).await?;
        if self.once {
            for line in lines(&first) {
                out!("{}", line.text);
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !std::io::stdout().is_terminal() {
            return Err(Error::Failed(
                "the output is not a terminal; use `--once` to print the report as plain text".into(),
            ));
        }
        let mut terminal = ratatui::try_init().map_err(|error| Error::Failed(format!("terminal error: {error}")))?;
        let result = self.watch(&clients, &mut terminal, lines(&first)).await;
        ratatui::restore();
        result.map(|()| ExitCode::SUCCESS)
    }

    /// Shows the report until `q`, Esc or Ctrl-C is pressed. The arrow keys scroll.
    async fn watch(
        &self,
        clients: &[Administrated],
        terminal: &mut ratatui::DefaultTerminal,
        mut shown: Vec<Shown>,
    ) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Failed(format!("terminal error: {error}"));
        let mut top = 0_u16;
        loop {
            let text = Text::from_iter(shown.iter().map(|line| Line::styled(line.text.as_str(), line.style)));
            let last = u16::try_from(shown.len()).unwrap_or(u16::MAX).saturating_sub(1);
            top = top.min(last);
            terminal
                .draw(|frame| frame.render_widget(Paragraph::new(text).scroll((top, 0)), frame.area()))
                .map_err(failed)?;
            // Blocking this task is harmless, because the process has no other task.
            if !event::poll(self.interval).map_err(failed)? {
                match fetch_all(clients).await {
                    Ok(report) => shown = lines(&report),
                    // The server may come back. Until then the last report stays, and its first line shows the error.
                    Err(error) => shown[0] = Shown { text: error.to_string(), style: REVERSED },
                }
                continue;
            }
            let Event::Key(key) = event::read().map_err(failed)? else { continue };
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                _ if key.kind != KeyEventKind::Press => {}
                _ if interrupted => return Ok(()),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Down => top = top.saturating_add(1),
                KeyCode::Up => top = top.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// The report of all servers together. Those that do not answer are named in it.
async fn fetch_all(clients: &[Administrated]) -> Result<Value, Error> {
    let is_alone = clients.len() < 2;
    let (mut reports, mut absent, mut failure) = (Vec::new(), Vec::new(), None);
    for (client, answer) in clients.iter().zip(join_all(clients.iter().map(|client| fetch(client, !is_alone))).await) {
        match answer {
            Ok(report) => reports.push(report),
            Err(error) => {
                absent.push(client.name());
                failure.get_or_insert(error);
            }
        }
    }
    if let Some(failure) = failure.filter(|_| reports.is_empty()) {
        return Err(failure);
    }
    let mut report = merge(reports).map_err(|error| Error::Failed(error.to_string()))?;
    if !absent.is_empty() {
        report["absent"] = absent.join(", ").into();
    }
    Ok(report)
}

async fn fetch(client: &Administrated, with_marks: bool) -> Result<Value, Error> {
    let path = if with_marks { "/v1/memory?marks=true" } else { "/v1/memory" };
    let reply = client.send(reqwest::Method::GET, path, Vec::new()).await?;
    let report = serde_json::from_str(&reply.text).ok().filter(|report: &Value| report["stages"].is_array());
    let shown = client.shown(path);
    let mut report: Value =
        report.ok_or_else(|| Error::Failed(format!("the reply of {shown} is not a memory report; check --server")))?;
    // A server of an earlier version does not have this route.
    let path = format!("/v1/requests?limit={REQUESTS}");
    if let Ok(reply) = client.send(reqwest::Method::GET, &path, Vec::new()).await
        && let Ok(mut latest) = serde_json::from_str::<Value>(&reply.text)
    {
        report["latest"] = latest["requests"].take();
    }
    Ok(report)
}

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

struct Shown {
    text: String,
    style: Style,
}

/// The report as lines: a summary, the stages, the callers.
fn lines(report: &Value) -> Vec<Shown> {
    let plain = |text: String| Shown { text, style: Style::new() };
    let seconds = report["uptime_seconds"].as_f64().unwrap_or(0.0).max(0.0) as u64;
    let process = &report["process"];
    let servers = report["servers"].as_u64().map_or_else(String::new, |servers| format!("  {servers} servers"));
    let absent = report["absent"].as_str().map_or_else(String::new, |absent| format!("  no answer: {absent}"));
    let up = format_duration(Duration::from_secs(seconds));
    let mut shown = vec![
        Shown { text: format!("plimsoll  {}  up {up}{servers}{absent}", text(&report["time"])), style: BOLD },
        plain(format!(
            "resident {}  cgroup {} of {}  pool: {} instances, {} memories, {} of unused memories resident",
            size(&process["resident_bytes"]),
            size(&process["cgroup_bytes"]),
            size(&process["cgroup_limit_bytes"]),
            number(&report["pool"]["component_instances"]),
            number(&report["pool"]["memories"]),
            size(&report["pool"]["unused_memory_bytes"]),
        )),
        plain(String::new()),
    ];
    let table = |header: &[&str], rows: Vec<Vec<String>>, texts: usize| {
        let lines = table::lines(header, &rows, texts).into_iter().enumerate();
        lines.map(|(at, text)| Shown { text, style: if at == 0 { REVERSED } else { Style::new() } })
    };
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let stages = list(&report["stages"]).iter().map(stage).collect();
    let header = ["pipeline", "stage", "plugin", "chip", "outcome", "count", "p50", "p99", "max", "cap", "p99 1m"];
    shown.extend(table(&header, stages, 5));
    shown.push(plain(String::new()));
    let callers = list(&report["callers"]["by_bytes"]).iter().take(CALLERS).map(caller).collect();
    let title = format!("caller ({})", text(&report["callers"]["header"]));
    shown.extend(table(&[&title, "outcomes", "requests", "bytes", "max"], callers, 2));
    let latest: Vec<_> = list(&report["latest"]).iter().take(REQUESTS).map(request).collect();
    if !latest.is_empty() {
        shown.push(plain(String::new()));
        let header = ["latest request", "pipeline", "chip", "outcome", "caller", "ms", "highest mark"];
        shown.extend(table(&header, latest, 5));
    }
    shown
}

fn request(row: &Value) -> Vec<String> {
    let marks = row["stages"].as_array().into_iter().flatten().map(|stage| &stage["high_water"]);
    let highest = marks.max_by_key(|mark| mark.as_u64()).map_or_else(|| "-".to_owned(), size);
    let time = row["seconds"].as_f64().map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3));
    let names = [&row["id"], &row["pipeline"], &row["chip"], &row["outcome"], &row["caller"]].map(text);
    names.into_iter().chain([time, highest]).collect()
}

fn stage(row: &Value) -> Vec<String> {
    let plugin = format!("{}@{}", text(&row["plugin"]), text(&row["version"]));
    let names = [text(&row["pipeline"]), text(&row["stage"]), plugin, text(&row["chip"]), text(&row["outcome"])];
    let sizes = [&row["p50"], &row["p99"], &row["max"], &row["max_memory"]].map(size);
    let window = &row["windows"]["1m"];
    let last = if window["count"] == 0 { "-".to_owned() } else { size(&window["p99"]) };
    names.into_iter().chain([number(&row["count"])]).chain(sizes).chain([last]).collect()
}

fn caller(row: &Value) -> Vec<String> {
    let outcomes = row["outcomes"].as_object().into_iter().flatten();
    let outcomes: Vec<_> = outcomes.map(|(outcome, requests)| format!("{outcome} {requests}")).collect();
    vec![text(&row["caller"]), outcomes.join(", "), number(&row["requests"]), size(&row["bytes"]), size(&row["max"])]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn size(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |bytes| bytesize::ByteSize::b(bytes).to_string())
}
