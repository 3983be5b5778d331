//! `plimsoll chips`: what models can run on here, and what is missing.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use plimsoll_runtime::nn::{Backend, BackendName, DeviceDescription};
use plimsoll_runtime::text::shortened;
use reqwest::Method;
use serde_json::Value;

use crate::base::process::{memory_of_cards, memory_of_machine};
use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::cli::source::ConfigSource;

/// Time-out of the request to a server.
const TIME_OUT: Duration = Duration::from_secs(5);

/// Lists libraries and devices.
#[derive(Debug, Args)]
pub(in crate::cli) struct Chips {
    #[command(flatten)]
    source: ConfigSource,
    /// Also list the models of this running server, with the memory that each holds: http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Chips {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let config = self.source.load()?;
        let folder = config.resolve(Path::new(""));
        let mut backends: Vec<(BackendName, Box<dyn Backend>)> = Vec::new();
        for name in BackendName::all() {
            match name.open(&config.backends.of(name), &folder) {
                Ok(backend) => {
                    out!("backend {}: {}", name.as_str(), backend.description());
                    backend.devices().iter().for_each(|device| out!("  {}", line(device)));
                    backends.push((name, backend));
                }
                Err(error) => out!("backend {}: missing: {error}", name.as_str()),
            }
        }
        machine();
        let mut is_complete = true;
        for (name, chip) in &config.chips {
            let chip = chip.chip(name, &folder);
            // The last error is that of the backend that has execution providers.
            let found = backends.iter().map(|(_, backend)| backend.devices_of(&chip));
            match found.reduce(Result::or) {
                Some(Ok(devices)) => {
                    out!("chip {name}: usable");
                    devices.iter().for_each(|device| out!("  {}", line(device)));
                }
                Some(Err(error)) => {
                    is_complete = false;
                    out!("chip {name}: missing: {error}{}", hint(backends.len()));
                }
                None => {}
            }
        }
        if config.chips.is_empty() {
            out!("the configuration has no table `[chips.NAME]`");
        }
        if let Some(server) = &self.server {
            models(server).await?;
        }
        Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What to add to the error of a chip if a backend is missing.
fn hint(opened: usize) -> &'static str {
    if opened == BackendName::all().count() { "" } else { " (a backend is missing, see above)" }
}

/// Lists the models of a running server, and what they hold on their devices.
async fn models(server: &str) -> Result<(), Error> {
    let (client, path) = (Client::new(server, Some(TIME_OUT))?, "/v1/models");
    let reply = client.send(client.request(Method::GET, path), path).await?;
    let listed: Option<Value> = serde_json::from_str(&reply.text).ok();
    let Some(models) = listed.as_ref().and_then(|listed| listed["models"].as_array()) else {
        let shown = client.shown(path);
        return Err(Error::Failed(format!(
            "{shown} replied with {} and no list of models; check --server",
            reply.status
        )));
    };
    for model in models {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let memory = &model["memory"];
        let size = |value: &Value| bytesize::ByteSize::b(value.as_u64().unwrap_or(0));
        let held = match memory.is_object() {
            true => {
                let (now, most) = (size(&memory["bytes"]), size(&memory["high_water"]));
                format!("{now} now, {most} at most ({})", text(&memory["source"]))
            }
            false => "memory not known".to_owned(),
        };
        out!("model {} on {}: {held}", text(&model["name"]), text(&model["target"]));
    }
    Ok(())
}

fn line(device: &DeviceDescription) -> String {
    let DeviceDescription { target, provider, kind, vendor, library, details } = device;
    let mut parts = vec![provider.clone()];
    parts.extend([kind, vendor].into_iter().filter(|text| !text.is_empty()).cloned());
    parts.extend(library.as_ref().map(|path| format!("from {}", path.display())));
    // Metadata of any length, made by a library.
    parts.extend(details.iter().map(|(name, value)| format!("{}: {}", shortened(name), shortened(value))));
    parts.extend(target.as_ref().map(|target| format!("target = \"{target}\"")));
    parts.join(", ")
}

/// What the operating system says about memory and drivers.
fn machine() {
    if let Some(bytes) = memory_of_machine() {
        out!("memory of the machine: {} MiB", bytes >> 20);
    }
    for (name, bytes) in memory_of_cards(Path::new("/sys/class/drm")) {
        out!("memory of the graphics card {name}: {} MiB", bytes >> 20);
    }
    match std::fs::read_to_string("/proc/driver/nvidia/version") {
        Ok(text) => out!("driver of NVIDIA: {}", text.lines().next().unwrap_or_default().trim()),
        Err(_) => out!("driver of NVIDIA: missing (no /proc/driver/nvidia/version)"),
    }
}
