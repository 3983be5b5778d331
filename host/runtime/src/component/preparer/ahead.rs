//! Components that are compiled before they are needed, so that many are compiled at the same time.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{MutexGuard, PoisonError};

use wasmtime::component::Component;

use super::{Preparer, plain_name};
use crate::component::Artifact;
use crate::component::exports::Interface;
use crate::identity::digest;
use crate::stage::lifecycle::LIFECYCLE;

impl Preparer {
    /// Compiles a component before it is needed. The next call that compiles its bytes takes the code. `is_used` is true if a
    /// stage will use it: then nothing is compiled for which the cache is asked first, or whose snapshot may be in it.
    pub fn compile_ahead(&self, artifact: &Artifact, is_used: bool) {
        let Ok(bytes) = artifact.component() else { return };
        let Ok(interface) = Interface::read(&bytes) else { return };
        let is_cached = || {
            let name = plain_name(self.compiler(), artifact);
            self.cache.as_ref().is_some_and(|cache| cache.contains(&name))
        };
        if interface.kinds().is_empty() || (is_used && (interface.has_export(LIFECYCLE) || is_cached())) {
            return;
        }
        self.is_ahead.store(true, Relaxed);
        // An error is found again when the component is needed.
        if let Ok(component) = self.compiler().compile(&bytes) {
            self.has_compiled.store(true, Relaxed);
            self.ahead().insert(digest(&bytes), component);
        }
    }

    /// Drops what [`Preparer::compile_ahead`] compiled and nothing has taken. Call it when nothing is compiled ahead any more.
    pub fn forget_ahead(&self) {
        self.ahead().clear();
        self.is_ahead.store(false, Relaxed);
        self.forget();
    }

    /// The code of a component that was compiled before.
    pub(super) fn take_ahead(&self, component: &[u8]) -> Option<Component> {
        if self.ahead().is_empty() {
            return None;
        }
        let digest = digest(component);
        self.ahead().remove(&digest)
    }

    fn ahead(&self) -> MutexGuard<'_, HashMap<String, Component>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
