//! `plimsoll serve`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::error::Error;
use crate::cli::source::ConfigSource;
use crate::serve::{App, Listeners};

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct Serve {
    #[command(flatten)]
    source: ConfigSource,
    /// Address and port; overrides the file's `server.listen`. Port 0 selects a free port.
    #[arg(long, value_name = "ADDR", env = "PLIMSOLL_LISTEN")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let started = Instant::now();
        let mut config = self.source.load()?;
        if let Some(address) = self.listen {
            config.overrides.listen = Some(address);
            config.server.listen = address;
        }
        let app = Arc::new(App::open(&config).await?);
        let address = app.server.listen;
        let http = TcpListener::bind(address).await.map_err(|error| {
            Error::Failed(format!("cannot listen on {address}: {error}; choose another address with --listen"))
        })?;
        let grpc = match app.server.grpc_listen {
            None => None,
            Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
                Error::Failed(format!("cannot listen on {address} for gRPC: {error}; change `server.grpc_listen`"))
            })?),
        };
        let address = http.local_addr().map_err(|error| Error::Failed(error.to_string()))?;
        tracing::info!("{}", app.access);
        tracing::info!(
            pipelines = app.serving().pipeline_names().join(","),
            ready_ms = started.elapsed().as_millis() as u64,
            "listening on http://{address}"
        );
        if let Some(address) = grpc.as_ref().and_then(|listener| listener.local_addr().ok()) {
            tracing::info!("listening for gRPC on {address}");
        }
        let shutdown = shutdown().map_err(|error| Error::Failed(format!("cannot wait for signals: {error}")))?;
        crate::serve::serve(app, Listeners { http, grpc }, shutdown)
            .await
            .map_err(|error| Error::Failed(error.to_string()))?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// Completes on SIGINT or SIGTERM.
fn shutdown() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
