//! `plimsoll inspect`.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use plimsoll_runtime::component::artifact::UNVERSIONED;
use plimsoll_runtime::component::exports::{Interface, names_of};
use plimsoll_runtime::component::{Artifact, Metadata, Preparer};
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::stage::lifecycle::LIFECYCLE;
use plimsoll_runtime::text::{printable, shortened};
use wasmtime::component::types::ComponentItem;

use crate::cli::error::Error;
use crate::cli::output::out;

/// Maximum bytes of a text of the file that are printed.
const MAX_TEXT: usize = 1_024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// The component, a `.wasm` file.
    file: PathBuf,
}

impl Inspect {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{}: {error}", self.file.display()));
        let bytes = std::fs::read(&self.file).map_err(|error| failed(&error))?;
        let name = self.file.file_stem().and_then(|name| name.to_str()).unwrap_or("plugin");
        let bytes = Bytes::from(bytes);
        // The file is shown also if its version is not valid, with the reason why a deployment would reject it.
        let (artifact, invalid) = match Artifact::new(name, None, bytes.clone()) {
            Ok(artifact) => (artifact, None),
            Err(invalid) => {
                let artifact = Artifact::new(name, Some(UNVERSIONED), bytes).map_err(|error| failed(&error))?;
                (artifact, Some(invalid))
            }
        };
        let runtime = Runtime::new(1, Scheduling::Off, None).map_err(|error| failed(&error))?;
        let preparer = Preparer::new(&runtime, None).map_err(|error| failed(&error))?;
        let component = preparer.compile(&artifact).map_err(|error| failed(&error))?;
        let ty = component.component_type();

        out!("name      {}", shortened(&artifact.identity.name));
        match invalid {
            Some(invalid) => out!("version   {invalid}; a deployment of this file is rejected"),
            None => out!("version   {}", artifact.identity.version),
        }
        out!("sha256    {}", artifact.identity.digest);
        out!("size      {}", bytesize::ByteSize::b(artifact.size as u64));
        let Metadata { authors, licenses, description } = &artifact.metadata;
        for (what, text) in [("authors", authors), ("licence", licenses), ("about", description)] {
            if let Some(text) = text {
                out!("{what:<9} {}", printable(text, MAX_TEXT));
            }
        }
        let bytes = artifact.component().map_err(|error| failed(&error))?;
        let kinds = Interface::read(&bytes).map_err(|error| failed(&error))?.kinds();
        let kind = if kinds.is_empty() { "not a plugin of this contract".to_owned() } else { names_of(&kinds) };
        out!("kind      {kind}");
        let init = component.get_export_index(None, LIFECYCLE).is_some();
        out!("init      {}", if init { "yes: snapshotted at deployment" } else { "none" });
        let list = |what: &str, items: Vec<(String, &'static str)>| {
            for (name, kind) in items {
                out!("{what:<9} {} ({kind})", printable(&name, MAX_TEXT));
            }
        };
        let engine = &runtime.engine;
        list("import", ty.imports(engine).map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect());
        list("export", ty.exports(engine).map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect());
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(item: &ComponentItem) -> &'static str {
    match item {
        ComponentItem::ComponentInstance(_) => "interface",
        ComponentItem::ComponentFunc(_) => "function",
        ComponentItem::Type(_) | ComponentItem::Resource(_) => "type",
        _ => "item",
    }
}
