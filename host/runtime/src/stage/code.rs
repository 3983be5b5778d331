//! The code of a stage: the compiled and linked component, and its export. The code of a stage can be replaced by that of
//! another compiler; a run keeps the code that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use wasmtime::component::InstancePre;

use super::call::StageExport;
use super::store::StoreState;
use crate::kind::StageKind;

/// The compiled and linked component of a stage.
pub struct Code {
    /// What instances are made of.
    pub instance_pre: InstancePre<StoreState>,
    /// The export of the stage's kind.
    pub export: StageExport,
    /// Why `init` must run in every instance, if no snapshot of it is possible.
    pub init_in_every_instance: Option<String>,
}

/// The code of a stage, which can be replaced while runs use it.
pub type SharedCode = Arc<ArcSwap<Code>>;

impl Code {
    /// The code of a component that is linked already.
    ///
    /// # Errors
    /// If the component does not export the interface of this kind.
    pub fn new(
        instance_pre: InstancePre<StoreState>,
        kind: StageKind,
        init_in_every_instance: Option<String>,
    ) -> wasmtime::Result<Self> {
        Ok(Self { export: StageExport::new(&instance_pre, kind)?, instance_pre, init_in_every_instance })
    }
}
