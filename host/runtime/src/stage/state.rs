//! What the store of one stage run owns, and the functions of the host that its guest may call.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use super::bindings::imports;
use super::cap::{MemoryCap, Meter};
use super::output::{LogStream, Source};
use super::run::Limits;
use super::turns::Turn;
use crate::nn::{LoadedModel, NnError, Tensor};
use crate::plugin::cache::EntryName;

const TENSOR: &str = "wasi:nn/tensor@0.2.0-rc-2024-10-28";
const ASSETS: &str = "plimsoll:stage/assets@0.1.0";

/// Resources that one store may hold at once.
const MAX_RESOURCES: usize = 100_000;

/// What a deployment gives its plugin.
#[derive(Clone, Default)]
pub struct Deployment {
    /// The plugin's name, for events.
    pub plugin: Arc<str>,
    settings: BTreeMap<String, String>,
    config: Arc<WasiConfigVariables>,
    assets: Arc<BTreeMap<String, Asset>>,
    model: Option<(String, Arc<LoadedModel>)>,
}

/// A file of a deployment.
#[derive(Debug, Clone)]
pub struct Asset {
    bytes: Arc<Vec<u8>>,
    digest: String,
}

impl Asset {
    /// A file with these bytes.
    pub fn new(bytes: Arc<Vec<u8>>) -> Self {
        Self { digest: crate::plugin::artifact::digest(&bytes), bytes }
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A file whose SHA-256 is known.
    pub fn of_digest(bytes: Arc<Vec<u8>>, digest: &str) -> Self {
        Self { bytes, digest: digest.to_owned() }
    }
}

impl Deployment {
    /// `settings` become `wasi:config/store`, `assets` are files by name, and `model` is the one that the stage may
    /// load by name.
    pub fn new(
        plugin: Arc<str>,
        settings: BTreeMap<String, String>,
        assets: BTreeMap<String, Asset>,
        model: Option<(String, Arc<LoadedModel>)>,
    ) -> Self {
        let config = Arc::new(settings.clone().into_iter().collect());
        Self { plugin, settings, config, assets: Arc::new(assets), model }
    }

    /// Whether a stage built for one is as good for the other.
    pub fn same(&self, other: &Self) -> bool {
        let digests = |this: &Self| -> Vec<(String, String)> {
            this.assets.iter().map(|(name, asset)| (name.clone(), asset.digest.clone())).collect()
        };
        let models = match (&self.model, &other.model) {
            (None, None) => true,
            (Some((name, model)), Some((other_name, other))) => name == other_name && Arc::ptr_eq(model, other),
            _ => false,
        };
        models && self.plugin == other.plugin && self.settings == other.settings && digests(self) == digests(other)
    }

    /// All of it as text: settings as they are, files and model by their digests.
    pub fn fingerprint(&self) -> String {
        let assets: Vec<_> = self.assets.iter().map(|(name, asset)| (name, &asset.digest)).collect();
        let model = self.model.as_ref().map(|(name, model)| (name, model.digest()));
        format!("{:?} {assets:?} {model:?}", self.settings)
    }

    /// The model that the stage may load.
    pub fn model(&self) -> Option<&LoadedModel> {
        self.model.as_ref().map(|(_, model)| &**model)
    }

    /// The compiled cache's name for what `init` of a component leaves: it depends on all that `init` may read.
    pub fn entry_name(&self, engine: &wasmtime::Engine, artifact: &crate::plugin::Artifact) -> EntryName {
        let mut parts = vec![b"initialized".as_slice(), artifact.identity.digest.as_bytes()];
        for (key, value) in &self.settings {
            parts.extend([b"config".as_slice(), key.as_bytes(), value.as_bytes()]);
        }
        for (name, asset) in self.assets.iter() {
            parts.extend([b"asset".as_slice(), name.as_bytes(), asset.digest.as_bytes()]);
        }
        if let Some((name, model)) = &self.model {
            parts.extend([b"model".as_slice(), name.as_bytes(), model.digest().as_bytes()]);
        }
        EntryName::new(engine, parts)
    }
}

/// The data of a store.
pub struct State {
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
    pub(crate) meter: Arc<Meter>,
    /// Bytes of tensors that this stage made and that live in `table`.
    pub(crate) tensor_bytes: u64,
    /// What the last `wasi:nn` call answered, when it was an error: the host's own words for the reply.
    pub(crate) last_nn_error: Option<NnError>,
    pub(crate) model: Option<(String, Arc<LoadedModel>)>,
    pub(crate) cap: MemoryCap,
    pub(crate) turn: Arc<Turn>,
    wasi: WasiCtx,
    config: Arc<WasiConfigVariables>,
    assets: Arc<BTreeMap<String, Asset>>,
}

impl State {
    /// The state of a fresh store: no files, no network, no environment, no arguments.
    pub fn new(deployment: &Deployment, limits: Limits, meter: Arc<Meter>, request: &str) -> Self {
        let source = Arc::new(Source { plugin: Arc::clone(&deployment.plugin), request: request.to_owned() });
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(LogStream::new(Arc::clone(&source), "stdout"))
            .stderr(LogStream::new(source, "stderr"))
            .allow_tcp(false)
            .allow_udp(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            table,
            limits,
            cap: MemoryCap::new(limits.max_memory, Arc::clone(&meter)),
            meter,
            turn: Arc::default(),
            tensor_bytes: 0,
            last_nn_error: None,
            model: deployment.model.clone(),
            wasi: wasi.build(),
            config: Arc::clone(&deployment.config),
            assets: Arc::clone(&deployment.assets),
        }
    }
}

impl State {
    fn asset(&self, name: &str) -> Result<Arc<Vec<u8>>, String> {
        self.assets.get(name).map(|asset| Arc::clone(&asset.bytes)).ok_or_else(|| {
            let known: Vec<_> = self.assets.keys().map(String::as_str).collect();
            format!("there is no asset `{name}`; the deployment has [{}]", known.join(", "))
        })
    }
}

/// Links everything that a guest may import: WASI p2 without authority, configuration, assets, `wasi:nn`.
///
/// # Errors
/// When two definitions collide: a fault of this program.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::from(&*state.config))?;
    use imports::{plimsoll::stage, wasi::nn};
    stage::assets::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    stage::types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    nn::tensor::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    // The generated functions want bytes of their own to give to the guest; these give those that the host holds, so
    // they are copied once.
    linker.allow_shadowing(true);
    linker.instance(TENSOR)?.func_wrap(
        "[method]tensor.data",
        |store: StoreContextMut<'_, State>, (tensor,): (Resource<Tensor>,)| {
            Ok((Arc::clone(&store.data().table.get(&tensor)?.data),))
        },
    )?;
    linker
        .instance(ASSETS)?
        .func_wrap("read", |store: StoreContextMut<'_, State>, (name,): (String,)| Ok((store.data().asset(&name),)))?;
    linker.allow_shadowing(false);
    nn::graph::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    nn::inference::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    nn::errors::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl imports::plimsoll::stage::types::Host for State {}

impl imports::plimsoll::stage::assets::Host for State {
    fn read(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, String>> {
        Ok(self.asset(&name).map(|bytes| bytes.to_vec()))
    }
}
