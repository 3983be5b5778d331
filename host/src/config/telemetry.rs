//! `[telemetry]`: the export of traces. What it does not set comes from the variables of OpenTelemetry.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::otel_variables::Mistake;
use super::otel_variables::{self as otel, Variables, first, number, of_collector, time};
use super::share::optional_share;
use super::texts::{Share, optional_share_text};
use crate::records::traces::sampler::Sampler;
use crate::records::traces::{TraceProtocol, TraceSettings};

/// The path of OTLP over HTTP.
const PATH: &str = "/v1/traces";
/// The values of OpenTelemetry's specification.
const MAX_QUEUE: usize = 2048;
const MAX_BATCH: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Sampled requests per second whose trace is the caller's.
const CALLER_RATE: u32 = 100;
/// The most spans that may wait; larger numbers are mistakes.
const MOST_QUEUE: usize = 1 << 20;

/// `[telemetry]`. Traces are off unless `endpoint` or a variable of OpenTelemetry names a collector.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The address of the OTLP collector, for example `http://collector:4318`.
    pub endpoint: Option<String>,
    /// The protocol of the collector; default `http/protobuf`.
    pub protocol: Option<TraceProtocol>,
    /// The part of the requests that are sampled, if their caller does not decide it; default all.
    #[serde(deserialize_with = "optional_share")]
    #[serde(serialize_with = "optional_share_text")]
    #[schemars(with = "Option<Share>")]
    pub share: Option<f64>,
    /// If a caller continues a trace (`traceparent`), its decision counts; default true.
    pub follow_caller: Option<bool>,
    /// Sampled requests per second whose trace is the caller's, if `share` is below 100%; default 100. Others are not sampled.
    pub caller_rate: Option<u32>,
    /// The name of the service in traces; default `plimsoll`.
    pub service_name: Option<String>,
}

impl Telemetry {
    /// How traces are exported; `None` if they are off.
    ///
    /// # Errors
    /// If a key or a variable is not valid.
    pub fn traces(&self) -> Result<Option<TraceSettings>, Mistake> {
        self.traces_with(&|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    /// The variables of OpenTelemetry that are set and have no effect.
    pub fn variables_without_effect() -> Vec<String> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        otel::without_effect(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Returns a message for a key that is not valid.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        let share = self.share.filter(|share| !(0.0..=1.0).contains(share));
        share.map(|_| ("telemetry.share", "must be from 0% to 100%".to_owned()))
    }

    fn traces_with(&self, variable: Variables<'_>) -> Result<Option<TraceSettings>, Mistake> {
        if otel::switch_off(variable)? {
            return Ok(None);
        }
        let protocol = self.protocol(variable)?;
        let Some(endpoint) = self.endpoint(protocol, variable) else { return Ok(None) };
        otel::check(variable)?;
        let max_queue = number("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE, MOST_QUEUE, variable)?;
        let timeout = time(of_collector("TIMEOUT", variable), TIMEOUT)?;
        Ok(Some(TraceSettings {
            files: otel::files(&endpoint, variable)?,
            is_compressed: otel::is_compressed(variable)?,
            endpoint,
            protocol,
            sampler: self.sampler(variable)?,
            service_name: self.service_name.clone(),
            max_queue,
            max_batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH, MOST_QUEUE, variable)?.min(max_queue),
            delay: time(first(&["OTEL_BSP_SCHEDULE_DELAY"], variable), DELAY)?,
            timeout: timeout.min(time(first(&["OTEL_BSP_EXPORT_TIMEOUT"], variable), timeout)?),
        }))
    }

    fn protocol(&self, variable: Variables<'_>) -> Result<TraceProtocol, Mistake> {
        if let Some(protocol) = self.protocol {
            return Ok(protocol);
        }
        match of_collector("PROTOCOL", variable) {
            None => Ok(TraceProtocol::Http),
            Some((name, value)) => match value.trim() {
                "http/protobuf" => Ok(TraceProtocol::Http),
                "grpc" => Ok(TraceProtocol::Grpc),
                other => Err((name, format!("`{other}` is not supported; use `http/protobuf` or `grpc`"))),
            },
        }
    }

    /// The address for traces. Only the one of all signals gets a path.
    fn endpoint(&self, protocol: TraceProtocol, variable: Variables<'_>) -> Option<String> {
        let with_path = |endpoint: String| match protocol {
            TraceProtocol::Http => format!("{}{PATH}", endpoint.trim().trim_end_matches('/')),
            TraceProtocol::Grpc => endpoint.trim().to_owned(),
        };
        let own = self.endpoint.clone().filter(|endpoint| !endpoint.trim().is_empty()).map(with_path);
        own.or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|endpoint| endpoint.trim().to_owned()))
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(with_path))
    }

    fn sampler(&self, variable: Variables<'_>) -> Result<Sampler, Mistake> {
        let name = "OTEL_TRACES_SAMPLER";
        let ratio = || match variable("OTEL_TRACES_SAMPLER_ARG") {
            None => Ok(1.0),
            Some(text) => {
                let share = text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
                share.ok_or_else(|| {
                    ("OTEL_TRACES_SAMPLER_ARG".to_owned(), format!("`{text}` is not a number from 0 to 1"))
                })
            }
        };
        let (follows_caller, share) = match variable(name).as_deref().map(str::trim) {
            None | Some("parentbased_always_on") => (true, 1.0),
            Some("parentbased_always_off") => (true, 0.0),
            Some("parentbased_traceidratio") => (true, ratio()?),
            Some("always_on") => (false, 1.0),
            Some("always_off") => (false, 0.0),
            Some("traceidratio") => (false, ratio()?),
            Some(other) => {
                let known = "`always_on`, `always_off`, `traceidratio`, or one of them after `parentbased_`";
                return Err((name.to_owned(), format!("`{other}` is not supported; use {known}")));
            }
        };
        Ok(Sampler {
            follows_caller: self.follow_caller.unwrap_or(follows_caller),
            share: self.share.unwrap_or(share),
            caller_rate: self.caller_rate.unwrap_or(CALLER_RATE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str, variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, Mistake> {
        let telemetry: Telemetry = toml::from_str(keys).expect("valid");
        telemetry.traces_with(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/");

    #[test]
    fn traces_are_off_unless_a_collector_is_named() {
        assert!(read("", &[]).expect("valid").is_none());
        assert!(read("share = \"1%\"", &[("OTEL_TRACES_SAMPLER", "always_on")]).expect("valid").is_none());
        let on = read("", &[ON]).expect("valid").expect("on");
        assert_eq!((on.endpoint.as_str(), on.protocol), ("http://a:4318/v1/traces", TraceProtocol::Http));
        assert_eq!(on.sampler, Sampler { follows_caller: true, share: 1.0, caller_rate: 100 });
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(read("endpoint = \"http://b\"", &[ON, off]).expect("valid").is_none(), "{off:?}");
        }
    }

    #[test]
    fn keys_precede_variables_and_the_variables_of_traces_those_of_all_signals() {
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/own/path");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let endpoint = |keys: &str, variables: &[_]| read(keys, variables).expect("valid").expect("on").endpoint;
        assert_eq!(endpoint("", &[ON, traces]), "http://t/own/path");
        assert_eq!(endpoint("endpoint = \"http://k:1\"", &[ON, traces]), "http://k:1/v1/traces");
        assert_eq!(endpoint("endpoint = \"http://k:1\"", &[grpc]), "http://k:1");
        assert_eq!(
            endpoint("endpoint = \"http://k:1\"\nprotocol = \"http/protobuf\"", &[grpc]),
            "http://k:1/v1/traces"
        );
    }

    #[test]
    fn samplers_are_those_of_opentelemetry() {
        let sampler = |keys: &str, variables: &[(&str, &str)]| {
            let all: Vec<_> = variables.iter().copied().chain([ON]).collect();
            let sampler = read(keys, &all).expect("valid").expect("on").sampler;
            (sampler.follows_caller, sampler.share)
        };
        let named = |name, arg| [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)];
        assert_eq!(sampler("", &named("always_on", "0.5")), (false, 1.0));
        assert_eq!(sampler("", &named("always_off", "")), (false, 0.0));
        assert_eq!(sampler("", &named("traceidratio", "0.25")), (false, 0.25));
        assert_eq!(sampler("", &named("parentbased_always_on", "0.5")), (true, 1.0));
        assert_eq!(sampler("", &named("parentbased_always_off", "0.5")), (true, 0.0));
        assert_eq!(sampler("", &named("parentbased_traceidratio", "0.25")), (true, 0.25));
        assert_eq!(sampler("share = \"1%\"", &named("traceidratio", "0.25")), (false, 0.01));
        assert_eq!(sampler("follow_caller = false", &[]), (false, 1.0));
    }

    #[test]
    fn mistakes_name_the_variable() {
        for (name, value) in [
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_SDK_DISABLED", "yes"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "deflate"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
            ("OTEL_PROPAGATORS", "b3"),
        ] {
            let (found, reason) = read("", &[ON, (name, value)]).expect_err(name);
            assert_eq!(found, name);
            assert!(reason.contains(value), "{reason}");
        }
        let arg = [ON, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(read("", &arg).expect_err("too large").0, "OTEL_TRACES_SAMPLER_ARG");
        for list in ["authorization: Bearer hunter2", "a=b,hunter2", "a b=hunter2", "a="] {
            let (name, reason) = read("", &[ON, ("OTEL_EXPORTER_OTLP_HEADERS", list)]).expect_err(list);
            assert!(name == "OTEL_EXPORTER_OTLP_HEADERS" && !reason.contains("hunter2"), "{reason}");
        }
        let fine = [
            ON,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, Authorization=Bearer%20x,"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_PROPAGATORS", "tracecontext, baggage"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
            ("OTEL_SDK_DISABLED", "False"),
        ];
        let fine = read("", &fine).expect("valid").expect("on");
        assert_eq!((fine.timeout, fine.is_compressed), (Duration::from_secs(2), true));
    }

    #[test]
    fn certificates_need_an_encrypted_connection_and_a_key() {
        let (ca, cert) = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
        let (own, key) = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY");
        let encrypted = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:4318");
        assert_eq!(read("", &[ON, (ca, "ca.pem")]).expect_err("plain").0, ca);
        assert_eq!(read("", &[encrypted, (cert, "a.pem")]).expect_err("no key").0, cert);
        assert_eq!(read("", &[encrypted, (key, "a.key")]).expect_err("no certificate").0, key);
        let all = [encrypted, (ca, "ca.pem"), (own, "own.pem"), (cert, "a.pem"), (key, "a.key")];
        let files = read("", &all).expect("valid").expect("on").files;
        assert_eq!(files.authorities.expect("named").path.to_str(), Some("own.pem"));
        let (certificate, key) = files.identity.expect("named");
        assert_eq!((certificate.path.to_str(), key.path.to_str()), (Some("a.pem"), Some("a.key")));
    }

    #[test]
    fn variables_without_an_effect_are_named() {
        let set = [
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFCATE", "a typing error"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_LOGS_EXPORTER", "none"),
            ("OTEL_LOG_LEVEL", ""),
            ("PATH", "x"),
        ];
        let found = otel::without_effect(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let wanted = [
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFCATE",
            "OTEL_METRICS_EXPORTER",
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
        ];
        assert_eq!(found, wanted);
    }
}
