//! `plimsoll plugin pull` and `push`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Args;
use plimsoll_runtime::identity::digest;

use crate::base::oci::{self, OciReference};
use crate::base::telemetry;
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::config::Deploy;

#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// `oci://registry/name:tag`, optionally followed by `@sha256:…`.
    reference: OciReference,
    /// The file to write; default NAME.wasm.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Pull {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
        let limit = Deploy::default().max_plugin.as_u64();
        telemetry::show_status(&format!("pulling {} …", self.reference));
        let pulled = oci::pull(&self.reference, limit).await.map_err(|error| failed(&error))?;
        telemetry::clear_status();
        let out = self.out.unwrap_or_else(|| PathBuf::from(format!("{}.wasm", self.reference.plugin_name())));
        std::fs::write(&out, &pulled.bytes).map_err(|error| failed(&format!("{}: {error}", out.display())))?;
        out!("file      {}", out.display());
        out!("sha256    {}", digest(&pulled.bytes));
        out!("reference {}", pulled.reference);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// The component, a `.wasm` file.
    file: PathBuf,
    /// `oci://registry/name:tag`.
    reference: OciReference,
}

impl Push {
    pub(in crate::cli) async fn run(self) -> Result<(), Error> {
        let bytes = std::fs::read(&self.file)
            .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.file.display())))?;
        telemetry::show_status(&format!(
            "pushing {} to {} …",
            ByteSize(bytes.len() as u64).display().iec(),
            self.reference
        ));
        let manifest = oci::push(&self.reference, bytes.into()).await;
        telemetry::clear_status();
        let manifest = manifest.map_err(|error| Error::Failed(error.to_string()))?;
        out!("{}@{manifest}", self.reference);
        Ok(())
    }
}
