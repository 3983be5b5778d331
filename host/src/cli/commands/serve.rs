//! `plimsoll serve`.

use std::path::absolute;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::sync::mpsc;

use crate::base::descriptors;
use crate::cli::error::Error;
use crate::cli::signals;
use crate::cli::source::ConfigSource;
use crate::config::{Config, ConfigError, Listen, ListenAddress, Overrides};
use crate::serve::listener::Reserved;
use crate::serve::{App, Listener, Listeners, Stop};

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
        let mut config = self.source.load()?;
        if !self.listen.is_empty() {
            let listen = Listen(self.listen).resolved(|path| absolute(path).unwrap_or_else(|_| path.to_owned()));
            let overrides = config.overrides.clone();
            config.apply_overrides(Overrides { listen: Some(listen), ..overrides });
        }
        descriptors::raise_limit();
        // Addresses are reserved before everything is built: a port may be in use, and building takes long.
        let reserved = Addresses::reserve(&config).await?;
        let Some(app) = open(config, &mut stops).await? else { return Ok(ExitCode::SUCCESS) };
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
        crate::serve::serve(app, Listeners { http, grpc, admin }, stops)
            .await
            .map_err(|error| Error::Failed(error.to_string()))?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
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
        Ok(Self {
            http: reserve(Some(&config.server.listen), OF_HTTP).await?,
            grpc: reserve(config.server.grpc_listen.as_ref(), OF_GRPC).await?,
            admin: reserve(config.admin.listen.as_ref(), OF_ADMINISTRATION).await?,
        })
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

/// Reserves the addresses of the setting `of`.
async fn reserve(listen: Option<&Listen>, of: &str) -> Result<Reserved, Error> {
    match listen {
        None => Ok(Reserved::default()),
        Some(listen) => Reserved::all(listen).await.map_err(|why| Error::Failed(format!("{why} ({of})"))),
    }
}

/// Builds everything that the configuration names. Returns `None` if a signal arrives before that is done.
async fn open(config: Config, stops: &mut mpsc::Receiver<Stop>) -> Result<Option<App>, ConfigError> {
    // Runs on a separate thread, because this task could not react to a signal while it compiles.
    let runtime = tokio::runtime::Handle::current();
    let mut app = tokio::task::spawn_blocking(move || runtime.block_on(App::open(&config)));
    tokio::select! {
        app = &mut app => match app {
            Ok(app) => app.map(Some),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
        _ = stops.recv() => {
            tracing::info!("stopped by a signal before the start was complete; nothing was served");
            Ok(None)
        }
    }
}
