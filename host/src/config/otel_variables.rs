//! The variables of OpenTelemetry
//! ([specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)): the exporter reads
//! some of them itself, and ignores what it cannot read. So they are checked here, and variables without an effect are named.

use std::path::PathBuf;
use std::time::Duration;

use crate::records::traces::settings::{NamedFile, TraceFiles};

/// Reads a variable. An empty one counts as missing.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is wrong: the key or the variable, and the reason.
pub type Mistake = (String, String);

/// How the name of a variable of OpenTelemetry begins.
const PREFIX: &str = "OTEL_";
/// The longest time; larger numbers are mistakes.
const MOST_TIME: Duration = Duration::from_secs(10 * 60);
/// Variables with an effect, without those of the collector.
const HEARD: [&str; 11] = [
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_PROPAGATORS",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
];
/// The variables of the collector, for all signals (`OTEL_EXPORTER_OTLP_…`) and for traces (`OTEL_EXPORTER_OTLP_TRACES_…`).
/// `INSECURE` is for addresses without a scheme, which are refused.
const OF_COLLECTOR: [&str; 9] = [
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
    "INSECURE",
];

/// The first of these variables that is set, with its value.
pub(super) fn first(names: &[&str], variable: Variables<'_>) -> Option<(String, String)> {
    names.iter().find_map(|name| Some(((*name).to_owned(), variable(name)?)))
}

/// A variable of the collector: the one of traces, or else the one of all signals.
pub(super) fn of_collector(name: &str, variable: Variables<'_>) -> Option<(String, String)> {
    first(&[&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), &format!("OTEL_EXPORTER_OTLP_{name}")], variable)
}

pub(super) fn number(name: &str, default: usize, most: usize, variable: Variables<'_>) -> Result<usize, Mistake> {
    let Some(text) = variable(name) else { return Ok(default) };
    let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| (name.to_owned(), format!("`{text}` is not a number from 1 to {most}")))
}

/// A time in milliseconds.
pub(super) fn time(found: Option<(String, String)>, default: Duration) -> Result<Duration, Mistake> {
    let Some((name, text)) = found else { return Ok(default) };
    let time = text.trim().parse().ok().map(Duration::from_millis).filter(|time| !time.is_zero() && *time <= MOST_TIME);
    let most = MOST_TIME.as_millis();
    time.ok_or_else(|| (name, format!("`{text}` is not a number of milliseconds from 1 to {most}")))
}

/// Returns true if the variables switch traces off.
///
/// # Errors
/// If they ask for something else than OTLP.
pub(super) fn switch_off(variable: Variables<'_>) -> Result<bool, Mistake> {
    let name = "OTEL_SDK_DISABLED";
    if let Some(value) = variable(name) {
        match value.trim().to_ascii_lowercase().as_str() {
            "true" => return Ok(true),
            "false" => {}
            _ => return Err((name.to_owned(), format!("`{value}` is neither `true` nor `false`"))),
        }
    }
    let name = "OTEL_TRACES_EXPORTER";
    match variable(name).as_deref().map(str::trim) {
        None | Some("otlp") => Ok(false),
        Some("none") => Ok(true),
        Some(other) => Err((name.to_owned(), format!("`{other}` is not supported; use `otlp` or `none`"))),
    }
}

/// Checks the values that the exporter reads itself, and those that nothing reads.
///
/// # Errors
/// Names the variable. Values of headers are not shown: they may be secrets.
pub(super) fn check(variable: Variables<'_>) -> Result<(), Mistake> {
    if let Some((name, value)) = of_collector("HEADERS", variable) {
        for (at, entry) in entries(&value) {
            let key = entry.split_once('=').filter(|(_, value)| !value.trim().is_empty()).map(|(key, _)| key.trim());
            if key.is_none_or(|key| key.parse::<reqwest::header::HeaderName>().is_err()) {
                return Err((
                    name,
                    format!("entry {at} is not NAME=VALUE with the name of a header; its values are not shown"),
                ));
            }
        }
    }
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    for (at, entry) in entries(&variable(name).unwrap_or_default()) {
        if entry.split_once('=').is_none_or(|(key, _)| key.trim().is_empty()) {
            return Err((name.to_owned(), format!("entry {at}, `{entry}`, is not NAME=VALUE")));
        }
    }
    let name = "OTEL_PROPAGATORS";
    let given = variable(name).unwrap_or_else(|| "tracecontext".to_owned());
    let mut named = given.split(',').map(str::trim);
    if let Some(other) = named.clone().find(|name| !["tracecontext", "baggage"].contains(name)) {
        let reason = format!(
            "`{other}` is not supported: the server hears `traceparent` and `tracestate`, which are `tracecontext` \
             (`[telemetry] follow_caller = false` ignores what callers decide)"
        );
        return Err((name.to_owned(), reason));
    }
    if !named.any(|name| name == "tracecontext") {
        return Err((name.to_owned(), "`tracecontext` is missing, and always heard".to_owned()));
    }
    Ok(())
}

/// The entries of a list with commas, counted from 1. The last comma may be followed by nothing.
fn entries(list: &str) -> impl Iterator<Item = (usize, &str)> {
    list.split_terminator(',').map(str::trim).enumerate().map(|(at, entry)| (at + 1, entry))
}

/// Whether calls of the collector are compressed, with gzip.
///
/// # Errors
/// If another compression is asked for.
pub(super) fn is_compressed(variable: Variables<'_>) -> Result<bool, Mistake> {
    let Some((name, value)) = of_collector("COMPRESSION", variable) else { return Ok(false) };
    match value.trim().to_ascii_lowercase().as_str() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err((name, format!("`{value}` is not supported; use `gzip` or `none`"))),
    }
}

/// The files of certificates for the connection to the collector.
///
/// # Errors
/// If a certificate is given without its key, or any of them for a connection that is not encrypted.
pub(super) fn files(endpoint: &str, variable: Variables<'_>) -> Result<TraceFiles, Mistake> {
    let file = |name: &str| {
        let (variable, path) = of_collector(name, variable)?;
        Some(NamedFile { variable, path: PathBuf::from(path.trim()) })
    };
    let authorities = file("CERTIFICATE");
    let identity = match (file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(one), None) => {
            return Err((one.variable, "the key is missing: set OTEL_EXPORTER_OTLP_CLIENT_KEY, too".to_owned()));
        }
        (None, Some(one)) => {
            return Err((
                one.variable,
                "the certificate is missing: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, too".to_owned(),
            ));
        }
    };
    let any = authorities.as_ref().or(identity.as_ref().map(|(certificate, _)| certificate));
    if let Some(file) = any.filter(|_| !endpoint.starts_with("https://")) {
        let reason = "certificates are for an encrypted connection: write the address of the collector as https://HOST:PORT, \
                      or remove this variable";
        return Err((file.variable.clone(), reason.to_owned()));
    }
    Ok(TraceFiles { authorities, identity })
}

/// The variables of OpenTelemetry without an effect, of these that are set. `none` for another signal asks for what is so.
pub(super) fn without_effect(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let is_heard = |name: &str| {
        let rest = name.strip_prefix("OTEL_EXPORTER_OTLP_").unwrap_or_default();
        HEARD.contains(&name) || OF_COLLECTOR.contains(&rest.strip_prefix("TRACES_").unwrap_or(rest))
    };
    let is_agreed = |name: &str, value: &str| match name {
        "OTEL_METRICS_EXPORTER" => value == "none" || value == "prometheus",
        "OTEL_LOGS_EXPORTER" => value == "none",
        _ => value.is_empty(),
    };
    let mut found: Vec<_> = variables
        .filter(|(name, value)| name.starts_with(PREFIX) && !is_heard(name) && !is_agreed(name, value.trim()))
        .map(|(name, _)| name)
        .collect();
    found.sort();
    found
}
