//! Shipped plugins serve with quickly compiled code at the start, so that the server is ready early. Optimised code follows,
//! and replaces it. Only the server's own plugins: the quick compiler is younger than Cranelift, and had more faults that a
//! hostile plugin could use.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::component::artifact::Artifact;
use crate::component::compiled_cache::Note;
use crate::component::compiler::Compiler;
use crate::component::entry_name::EntryName;
use crate::component::error::Rejection;
use crate::component::initializer::Initializer;
use crate::kind::StageKind;
use crate::panics;
use crate::stage::StageEnvironment;
use crate::stage::code::{Code, SharedCode};
use crate::stage::limits::Limits;

/// The quick compiler, and the stages whose code it made.
pub(super) struct QuickStart {
    initializer: Initializer,
    /// The digests of the plugins that are compiled quickly.
    plugins: HashSet<String>,
    /// `None` after the end.
    unoptimised: Mutex<Option<Vec<Unoptimised>>>,
}

/// What a stage is made of.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) artifact: Artifact,
    pub(super) has_init: bool,
    pub(super) kind: StageKind,
    pub(super) limits: Limits,
    pub(super) environment: StageEnvironment,
    /// The entry of its code in the cache.
    pub(super) name: EntryName,
}

/// A stage that serves with quickly compiled code.
pub(super) struct Unoptimised {
    pub(super) wanted: Wanted,
    pub(super) code: Weak<ArcSwap<Code>>,
}

impl QuickStart {
    /// Compiles the plugins with these digests quickly, until [`QuickStart::end`].
    pub(super) fn new(initializer: Initializer, plugins: HashSet<String>) -> Self {
        Self { initializer, plugins, unoptimised: Mutex::new(Some(Vec::new())) }
    }

    /// The quickly compiled code of a component. `None` if it is not one of the plugins, or the quick compiler cannot compile
    /// it, or anything else is wrong: then the usual way finds the error.
    pub(super) async fn code(&self, wanted: &Wanted, component: &Bytes) -> Option<SharedCode> {
        if !self.plugins.contains(&*wanted.artifact.identity.digest) {
            return None;
        }
        let plugin = &wanted.artifact.identity.name;
        let code = match panics::catch(self.compile(wanted, component)).await {
            Ok(Ok(code)) => Arc::new(ArcSwap::from_pointee(code)),
            Ok(Err(reason)) => {
                tracing::debug!(%plugin, %reason, "not compiled quickly");
                return None;
            }
            Err(_) => {
                tracing::warn!(%plugin, "the quick compiler panicked");
                return None;
            }
        };
        let unoptimised = Unoptimised { wanted: wanted.clone(), code: Arc::downgrade(&code) };
        self.unoptimised.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.push(unoptimised);
        Some(code)
    }

    async fn compile(&self, wanted: &Wanted, component: &Bytes) -> Result<Code, Rejection> {
        let compiler: &Compiler = &self.initializer.compiler;
        let (component, note) = if wanted.has_init {
            self.initializer.run(component, wanted.kind, &wanted.limits, &wanted.environment).await?
        } else {
            (tokio::task::block_in_place(|| compiler.compile(component))?, Note::default())
        };
        Code::new(compiler.link(&component, wanted.kind)?, wanted.kind, note.init_in_every_instance)
            .map_err(Rejection::World)
    }

    /// Frees what is only needed while stages are built.
    pub(super) fn forget(&self) {
        self.initializer.forget();
    }

    /// Compiles nothing quickly any more. Returns the stages that need optimised code.
    pub(super) fn end(&self) -> Vec<Unoptimised> {
        self.unoptimised.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}
