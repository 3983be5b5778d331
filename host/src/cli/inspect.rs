//! `plimsoll inspect`.

use std::path::PathBuf;

use clap::Args;
use wasmtime::component::types::ComponentItem;

use super::Error;
use crate::engine::Engines;
use crate::plugin::{Artifact, Kind, Metadata, Preparer};
use crate::stage::run::LIFECYCLE;

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The component, a `.wasm` file.
    file: PathBuf,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("{}: {error}", self.file.display()));
        let bytes = std::fs::read(&self.file).map_err(|error| failed(&error))?;
        let name = self.file.file_stem().and_then(|name| name.to_str()).unwrap_or("plugin");
        let artifact = Artifact::new(name, None, bytes.into());
        let engines = Engines::new(1).map_err(|error| failed(&error))?;
        let preparer = Preparer::new(&engines.engine, None).map_err(|error| failed(&error))?;
        let component = preparer.compile(&artifact).map_err(|error| failed(&error))?;
        let ty = component.component_type();

        println!("name      {}", artifact.identity.name);
        println!("version   {}", artifact.identity.version);
        println!("sha256    {}", artifact.identity.digest);
        println!("size      {}", bytesize::ByteSize::b(artifact.size as u64));
        let Metadata { authors, licenses, description } = &artifact.metadata;
        for (what, text) in [("authors", authors), ("licence", licenses), ("about", description)] {
            if let Some(text) = text {
                println!("{what:<9} {text}");
            }
        }
        let kinds: Vec<_> = Kind::of(&component).into_iter().map(Kind::as_str).collect();
        println!("kind      {}", if kinds.is_empty() { "no plugin of this contract".into() } else { kinds.join(", ") });
        let init = component.get_export_index(None, LIFECYCLE).is_some();
        println!("init      {}", if init { "yes: snapshotted at deployment" } else { "none" });
        let list = |what: &str, items: Vec<(String, &'static str)>| {
            for (name, kind) in items {
                println!("{what:<9} {name} ({kind})");
            }
        };
        let engine = &engines.engine;
        list("import", ty.imports(engine).map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect());
        list("export", ty.exports(engine).map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect());
        Ok(())
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
