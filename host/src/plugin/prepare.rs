//! From an artifact to a stage: compile, check the world, run `init`, snapshot.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::{Artifact, snapshot};
use crate::stage::bindings::inferencer::InferencerIndices;
use crate::stage::bindings::postprocessor::PostprocessorIndices;
use crate::stage::bindings::preprocessor::PreprocessorIndices;
use crate::stage::cap::Meter;
use crate::stage::run::{Export, LIFECYCLE, store};
use crate::stage::state::{Deployment, State, linker};
use crate::stage::{Limits, Stage, StageError};

/// The three worlds of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// World `preprocessor`.
    Preprocess,
    /// World `inferencer`.
    Infer,
    /// World `postprocessor`.
    Postprocess,
}

impl Kind {
    /// The three of them.
    pub const ALL: [Self; 3] = [Self::Preprocess, Self::Infer, Self::Postprocess];

    /// The stage's name in replies, labels and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
            Self::Postprocess => "postprocess",
        }
    }

    /// The interface that a component of this kind exports.
    pub fn interface(self) -> String {
        format!("plimsoll:stage/{}@0.1.0", self.as_str())
    }

    /// The kinds that a component exports the interface of.
    pub fn of(component: &Component) -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| component.get_export_index(None, kind.interface()).is_some()).collect()
    }
}

/// Why a plugin is refused.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct PluginError {
    plugin: String,
    reason: String,
}

/// Compiles plugins for one engine.
pub struct Preparer {
    engine: Engine,
    linker: Linker<State>,
}

impl Preparer {
    /// A preparer with everything linked that a guest may import.
    ///
    /// # Errors
    /// A fault of this program: definitions that collide.
    pub fn new(engine: &Engine) -> wasmtime::Result<Self> {
        Ok(Self { engine: engine.clone(), linker: linker(engine)? })
    }

    /// Compiles a component.
    ///
    /// # Errors
    /// When the bytes are no component.
    pub fn compile(&self, artifact: &Artifact) -> Result<Component, PluginError> {
        Component::from_binary(&self.engine, &artifact.bytes).map_err(|error| PluginError {
            plugin: artifact.identity.name.to_string(),
            reason: format!("is no component that can be compiled: {error:#}"),
        })
    }

    /// Makes a stage of the kind `kind`. A component with `lifecycle.init` runs it now, within `limits`.
    ///
    /// # Errors
    /// The first thing that does not fit: no component, wrong world, unknown import, failed `init`.
    pub async fn stage(
        &self,
        artifact: &Artifact,
        kind: Kind,
        limits: Limits,
        deployment: Deployment,
    ) -> Result<Stage, PluginError> {
        let refused = |reason: String| PluginError { plugin: artifact.identity.name.to_string(), reason };
        let mut init_each = false;
        let mut snapshot = None;
        if exports(&artifact.bytes, LIFECYCLE) {
            match self.snapshot(artifact, kind, &limits, &deployment).await.map_err(refused)? {
                Ok(component) => snapshot = Some(component),
                Err(why) => {
                    tracing::warn!(
                        plugin = %artifact.identity.name,
                        "`init` runs in every instance, which costs its time for each request: {why}"
                    );
                    init_each = true;
                }
            }
        }
        let component = match snapshot {
            Some(snapshot) => Component::from_binary(&self.engine, &snapshot)
                .map_err(|error| refused(format!("its snapshot does not compile: {error:#}")))?,
            None => self.compile(artifact)?,
        };
        let pre = self.fit(&component, kind).map_err(refused)?;
        Ok(Stage::new(artifact.identity.clone(), kind.as_str(), limits, pre, deployment, init_each))
    }

    fn fit(&self, component: &Component, kind: Kind) -> Result<(InstancePre<State>, Export), String> {
        let kinds = Kind::of(component);
        if !kinds.contains(&kind) {
            let exports: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            let what = if exports.is_empty() { "none of the three".to_owned() } else { exports.join(", ") };
            return Err(format!(
                "is no `{}` plugin: it does not export `{}` (of the stages it exports {what})",
                kind.as_str(),
                kind.interface()
            ));
        }
        let pre =
            self.linker.instantiate_pre(component).map_err(|error| format!("does not fit its world: {error:#}"))?;
        let export = match kind {
            Kind::Preprocess => PreprocessorIndices::new(&pre).map(Export::Preprocess),
            Kind::Infer => InferencerIndices::new(&pre).map(Export::Infer),
            Kind::Postprocess => PostprocessorIndices::new(&pre).map(Export::Postprocess),
        };
        let export = export.map_err(|error| format!("does not fit its world: {error:#}"))?;
        Ok((pre, export))
    }

    /// The component with the memory that `init` leaves; the inner error says why there can be no snapshot,
    /// though `init` itself is fine.
    async fn snapshot(
        &self,
        artifact: &Artifact,
        kind: Kind,
        limits: &Limits,
        deployment: &Deployment,
    ) -> Result<Result<Vec<u8>, String>, String> {
        let deadline = Instant::now() + limits.init_deadline;
        let new_store = || {
            let state = State::new(deployment, *limits, Arc::new(Meter::default()), "init");
            store(&self.engine, state, deadline)
        };
        let init = async |store: &mut Store<State>, component: &Component| -> Result<Instance, String> {
            let told = |error: wasmtime::Error| {
                let error = StageError::from_wasmtime(&error);
                format!("`init` failed: {} ({}) {}", error.public, error.outcome.as_str(), error.detail)
            };
            let (pre, _) = self.fit(component, kind)?;
            let instance = pre.instantiate_async(&mut *store).await.map_err(told)?;
            let answer = tokio::time::timeout_at(deadline.into(), call_init(store, &instance)).await;
            answer
                .map_err(|_| "`init` failed: its deadline passed (deadline)".to_owned())?
                .map_err(told)?
                .map_err(|text| format!("`init` failed: {text}"))?;
            Ok(instance)
        };
        snapshot::take(&self.engine, &artifact.bytes, new_store, init).await
    }
}

/// Whether a component exports an interface, read from its bytes: compiling it to find out would cost seconds, and
/// what is compiled in the end is its snapshot. False for bytes that are no component.
fn exports(bytes: &[u8], interface: &str) -> bool {
    use wasmparser::{Parser, Payload};
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                if section.into_iter().flatten().any(|export| export.name.name == interface) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Calls `lifecycle.init`; the inner error is the plugin's own.
///
/// # Errors
/// A trap or a limit.
pub async fn call_init(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Result<(), String>> {
    let missing = || wasmtime::Error::msg("the component has no `lifecycle.init`");
    let interface = instance.get_export_index(&mut *store, None, LIFECYCLE).ok_or_else(missing)?;
    let init = instance.get_export_index(&mut *store, Some(&interface), "init").ok_or_else(missing)?;
    let init = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, init)?;
    let (answer,) = init.call_async(&mut *store, ()).await?;
    Ok(answer)
}
