//! The imports and exports of a component, read from its bytes. Compiling the component to find them would take
//! seconds.

use wasmparser::{Parser, Payload};

use crate::kind::StageKind;

/// The names that a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Imports, in their order.
    pub imports: Vec<String>,
    /// Exports, in their order.
    pub exports: Vec<String>,
}

impl Interface {
    /// Reads the interface of a component.
    ///
    /// # Errors
    /// If the bytes are not valid WebAssembly.
    pub fn read(component: &[u8]) -> wasmparser::Result<Self> {
        let mut this = Self::default();
        // Modules and components may be nested; the component's own sections are at depth 1.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        this.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        this.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(this)
    }

    /// Returns true if the component exports this name.
    pub fn has_export(&self, name: &str) -> bool {
        self.exports.iter().any(|export| export == name)
    }

    /// The kinds of stage whose interface the component exports.
    pub fn kinds(&self) -> Vec<StageKind> {
        StageKind::ALL.into_iter().filter(|kind| self.has_export(&kind.interface())).collect()
    }
}

/// Names the kinds of stage for a message: `preprocess, infer`, or `none of them`.
pub fn names_of(kinds: &[StageKind]) -> String {
    match kinds {
        [] => "none of them".to_owned(),
        kinds => kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
    }
}
