//! `plimsoll serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc;

use crate::base::{service_manager, telemetry};
use crate::cli::error::Error;
use crate::cli::next_steps::next_steps;
use crate::cli::signals;
use crate::cli::source::ConfigSource;
use crate::config::{Config, ConfigError, Listen, ListenAddress};
use crate::serve::listener::Reserved;
use crate::serve::{App, Listener, Listeners, Stop};

/// How long the last traces may take when the server stops.
const FLUSH: Duration = Duration::from_secs(2);

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Serve {
    #[command(flatten)]
    source: ConfigSource,
    /// HOST:PORT or unix:PATH; overrides the file's `server.listen`. Port 0 selects a free port. May be repeated, or
    /// have several addresses with commas between them.
    #[arg(long, value_name = "ADDR", env = "PLIMSOLL_LISTEN", value_delimiter = ',')]
    listen: Vec<ListenAddress>,
}

impl Serve {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        // This comes first, because the system ignores a signal that the first process of a container does not handle.
        let signals = signals::watch();
        let mut stops = signals.map_err(|error| Error::Failed(format!("cannot wait for signals: {error}")))?;
        let started = Instant::now();
        let is_demo = self.source.file().is_none();
        // Addresses are reserved before everything is built: a port may be in use, and building takes long.
        let opened = move || async move {
            let config = self.config()?;
            let reserved = Addresses::reserve(&config).await?;
            Ok((App::open(&config).await?, reserved))
        };
        let Some((app, reserved)) = unless_stopped(opened, &mut stops).await? else { return Ok(ExitCode::SUCCESS) };
        let app = Arc::new(app);
        let Listeners { http, grpc, admin } = reserved.listen().await?;
        match app.access.is_open() {
            true => tracing::info!("{}", app.access),
            false => tracing::warn!("{}", app.access),
        }
        let is_encrypted = app.tls.is_some();
        let shown = |listener: &Listener| match is_encrypted {
            true => listener.to_string().replacen("http://", "https://", 1),
            false => listener.to_string(),
        };
        for (at, listener) in http.iter().enumerate() {
            if at == 0 {
                tracing::info!(
                    pipelines = app.serving().pipeline_names().join(","),
                    ready_ms = started.elapsed().as_millis() as u64,
                    "listening on {}",
                    shown(listener)
                );
            } else {
                tracing::info!("listening on {}", shown(listener));
            }
        }
        for listener in &grpc {
            tracing::info!("listening for gRPC on {}", listener.to_string().trim_start_matches("http://"));
        }
        for listener in &admin {
            tracing::info!("listening for administration, reports and metrics on {}", shown(listener));
        }
        if let Some(listener) = http.first().filter(|_| telemetry::has_status()) {
            let names = app.serving().pipeline_names();
            let pipeline = names.first().map_or("PIPELINE", String::as_str);
            next_steps(&shown(listener), pipeline, is_demo).iter().for_each(|line| telemetry::print_line(line));
        }
        service_manager::ready(&format!("serving {}", app.serving().pipeline_names().join(", ")));
        let traces = app.records.traces.clone();
        crate::serve::serve(app, Listeners { http, grpc, admin }, stops)
            .await
            .map_err(|error| Error::Failed(error.to_string()))?;
        if let Some(traces) = traces {
            traces.flush(FLUSH).await;
        }
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    fn config(self) -> Result<Config, Error> {
        Ok(self.source.load_with(self.listen)?)
    }
}

/// The reserved addresses of the server.
struct Addresses {
    http: Reserved,
    grpc: Reserved,
    admin: Reserved,
}

const OF_HTTP: &str = "`server.listen`; --listen overrides it";
const OF_GRPC: &str = "for gRPC: `server.grpc_listen`";
const OF_ADMINISTRATION: &str = "for administration: `admin.listen`";

impl Addresses {
    async fn reserve(config: &Config) -> Result<Self, Error> {
        let reserved = Self {
            http: reserve(config, "server.listen", Some(&config.server.listen), OF_HTTP).await?,
            grpc: reserve(config, "server.grpc_listen", config.server.grpc_listen.as_ref(), OF_GRPC).await?,
            admin: reserve(config, "admin.listen", config.admin.listen.as_ref(), OF_ADMINISTRATION).await?,
        };
        reserved.check_distinct(config)?;
        Ok(reserved)
    }

    /// Checks that no address is given twice. The operating system would report it only when the server
    /// listens on them, after everything is built.
    fn check_distinct(&self, config: &Config) -> Result<(), ConfigError> {
        let all = [("server.listen", &self.http), ("server.grpc_listen", &self.grpc), ("admin.listen", &self.admin)];
        for (at, (key, reserved)) in all.iter().enumerate() {
            let conflict = |(other, earlier): &(&str, &Reserved)| {
                let (address, before) = reserved.conflict(earlier)?;
                Some(match key == other {
                    true if address == before => format!("{address} is given twice"),
                    true => format!("{address} and {before} are the same port; give each its own"),
                    false => format!("{address} is taken by {before} of `{other}`; give each its own address"),
                })
            };
            if let Some(reason) = all[..=at].iter().find_map(conflict) {
                let is_overridden = *key == "server.listen" && config.overrides.listen.is_some();
                return Err(ConfigError::new(&config.path, if is_overridden { "--listen" } else { *key }, reason));
            }
        }
        Ok(())
    }

    async fn listen(self) -> Result<Listeners, Error> {
        let failed = |of: &str| {
            let of = of.to_owned();
            move |why| Error::Failed(format!("{why} ({of})"))
        };
        Ok(Listeners {
            http: self.http.listen().await.map_err(failed(OF_HTTP))?,
            grpc: self.grpc.listen().await.map_err(failed(OF_GRPC))?,
            admin: self.admin.listen().await.map_err(failed(OF_ADMINISTRATION))?,
        })
    }
}

/// Reserves the addresses of the setting `key`; `of` describes it.
async fn reserve(config: &Config, key: &str, listen: Option<&Listen>, of: &str) -> Result<Reserved, Error> {
    let Some(listen) = listen else { return Ok(Reserved::default()) };
    Reserved::all(listen).await.map_err(|why| match why.is_impossible() {
        true => ConfigError::new(&config.path, key, why).into(),
        false => Error::Failed(format!("{why} ({of})")),
    })
}

/// Does the part of the start before anything is served. Returns `None` if a signal arrives before it is done: also a
/// configuration on a file system that hangs, or the name of an address, may take long.
async fn unless_stopped<T: Send + 'static, F: Future<Output = Result<T, Error>>>(
    start: impl FnOnce() -> F + Send + 'static,
    stops: &mut mpsc::Receiver<Stop>,
) -> Result<Option<T>, Error> {
    // Runs on a separate thread, because this task could not react to a signal while it reads or compiles.
    let runtime = tokio::runtime::Handle::current();
    let mut start = tokio::task::spawn_blocking(move || runtime.block_on(start()));
    tokio::select! {
        started = &mut start => match started {
            Ok(started) => started.map(Some),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        _ = stops.recv() => {
            tracing::info!("stopped by a signal before the start was complete; nothing was served");
            Ok(None)
        }
    }
}
