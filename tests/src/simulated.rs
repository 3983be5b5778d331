//! The backend `simulated`: a device with the costs of an accelerator, and with errors on demand. rten computes the answers;
//! the device adds the time: it runs one thing at a time, each session prepares itself for every new shape, and a run
//! takes a fixed time and a time for each row.
//!
//! A model configures it with `options = { device = "NAME", sessions = 2, new_shape_ms = 50, copy_ms = 2, run_ms = 5,
//! row_ms = 1 }`. A run copies its inputs before it computes; that needs no turn at the device.
//! A test has its own device by name.

mod device;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plimsoll_runtime::nn::{
    ArenaSizes, Backend, BackendEntry, BackendName, BackendSettings, DeviceDescription, HostBuffer, HostBuffers,
    LoadError, Model, ModelProperties, ModelSource, RunError, SettingsError, backends,
};
use plimsoll_runtime::tensor::{Tensor, Tensors};

use self::device::Shapes;
pub use self::device::{Device, Fault};

/// Adds the backend to the list.
fn add() {
    backends::add(&ENTRY);
}

static ENTRY: BackendEntry = BackendEntry {
    name: "simulated",
    check: |settings| match settings.is_null() {
        true => Ok(()),
        false => Err(SettingsError("the backend `simulated` has no settings".to_owned())),
    },
    open: |_, folder| {
        let rten: BackendName = "rten".parse().map_err(|_| LoadError("there is no backend `rten`".to_owned()))?;
        Ok(Box::new(Simulated(rten.open(&BackendSettings::Null, folder)?)))
    },
};

/// The backend.
struct Simulated(Box<dyn Backend>);

/// What a device costs.
struct Costs {
    new_shape: Duration,
    copy: Duration,
    run: Duration,
    row: Duration,
}

/// A model on a device.
struct Loaded {
    model: Box<dyn Model>,
    device: Arc<Device>,
    costs: Costs,
    properties: ModelProperties,
    /// The shapes that each idle session knows.
    idle: Mutex<Vec<HashSet<Shapes>>>,
    buffers: Arc<HostBuffers>,
    /// Where the buffers are.
    reserved: Mutex<Vec<std::ops::Range<usize>>>,
}

impl Backend for Simulated {
    fn load(&self, source: &ModelSource) -> Result<Box<dyn Model>, LoadError> {
        let mut options = source.options.clone();
        let device = Device::named(&options.remove("device").unwrap_or_else(|| source.name.clone()));
        let mut number = |name: &str, default: u64| match options.remove(name).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(LoadError(format!("simulated: failed to parse provider option: \"{name}\""))),
        };
        let costs = Costs {
            new_shape: Duration::from_millis(number("new_shape_ms", 0)?),
            copy: Duration::from_millis(number("copy_ms", 0)?),
            run: Duration::from_millis(number("run_ms", 0)?),
            row: Duration::from_millis(number("row_ms", 0)?),
        };
        let sessions = number("sessions", 1)?.clamp(1, 64) as usize;
        if let Some(name) = options.keys().next() {
            return Err(LoadError(format!("simulated: unknown provider option: \"{name}\"")));
        }
        let source = ModelSource { options: BTreeMap::new(), ..source.clone() };
        let model = self.0.load(&source)?;
        let (inputs, outputs) = (model.inputs().to_vec(), model.outputs().to_vec());
        let properties = ModelProperties {
            overlaps_runs: false,
            pays_for_new_shapes: true,
            ..ModelProperties::on_cpu(inputs, outputs, sessions)
        };
        let idle = Mutex::new(vec![HashSet::new(); sessions]);
        let (buffers, reserved) = (Arc::default(), Mutex::default());
        Ok(Box::new(Loaded { model, device, costs, properties, idle, buffers, reserved }))
    }

    fn description(&self) -> String {
        "simulated devices".to_owned()
    }

    fn devices(&self) -> Vec<DeviceDescription> {
        Vec::new()
    }
}

impl Loaded {
    fn take(&self) -> Session<'_> {
        let known = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Session { known: known.expect("no more runs than sessions"), idle: &self.idle }
    }

    fn run_in(&self, session: &mut Session<'_>, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        let is_reserved = {
            let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
            let place = |input: &Tensor| input.data.as_ptr() as usize;
            inputs.iter().all(|input| reserved.iter().any(|range| range.contains(&place(input))))
        };
        if self.device.state().computing > 0 {
            self.device.state().overlaps += 1;
        }
        std::thread::sleep(self.costs.copy);
        let _busy = self.device.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let _computing = Computing::new(&self.device);
        let started = Instant::now();
        let shapes: Shapes = inputs.iter().map(|input| input.dimensions.clone()).collect();
        let rows = shapes.first().and_then(|shape| shape.first()).copied().unwrap_or(1);
        while self.device.state().fault == Fault::Hangs {
            std::thread::sleep(Duration::from_millis(5));
        }
        let fault = self.device.state().fault;
        match fault {
            Fault::Lost => return Err(RunError::Device("the simulated device is lost".to_owned())),
            Fault::Memory(most) if rows > most => {
                return Err(RunError::OutOfMemory("the simulated device is out of memory".to_owned()));
            }
            Fault::None | Fault::Memory(_) | Fault::Hangs => {}
        }
        let mut time = self.costs.run + self.costs.row * rows;
        if session.known.insert(shapes.clone()) {
            time += self.costs.new_shape;
            self.device.state().new_shapes.push(shapes);
        }
        self.device.state().runs.push(rows);
        if is_reserved {
            self.device.state().reserved += rows;
        }
        let outputs = self.model.run(inputs);
        std::thread::sleep(time.saturating_sub(started.elapsed()));
        outputs
    }
}

/// While a run computes.
struct Computing<'a>(&'a Device);

impl<'a> Computing<'a> {
    fn new(device: &'a Device) -> Self {
        device.state().computing += 1;
        Self(device)
    }
}

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        self.0.state().computing -= 1;
    }
}

/// A session in use. It is idle again when it is dropped.
struct Session<'a> {
    known: HashSet<Shapes>,
    idle: &'a Mutex<Vec<HashSet<Shapes>>>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let known = std::mem::take(&mut self.known);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(known);
    }
}

impl Model for Loaded {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    fn warm(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        let mut sessions: Vec<_> = (0..self.properties.concurrent_runs).map(|_| self.take()).collect();
        sessions.iter_mut().try_for_each(|session| self.run_in(session, inputs).map(drop))
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_in(&mut self.take(), inputs)
    }

    /// The question waits for a run that hangs, as that of a library does whose allocator the run has locked.
    fn arenas(&self) -> ArenaSizes {
        while self.device.state().fault == Fault::Hangs {
            std::thread::sleep(Duration::from_millis(5));
        }
        ArenaSizes::default()
    }

    fn reserve_buffers(&self, sizes: &[usize]) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        for &bytes in std::iter::repeat_n(sizes, 3).flatten() {
            let block = vec![0_u8; bytes];
            let start = block.as_ptr() as usize;
            reserved.push(start..start + bytes);
            self.buffers.add(Box::new(block));
        }
    }

    fn buffer(&self, bytes: usize) -> Option<HostBuffer> {
        self.buffers.take(bytes)
    }
}

/// The model of a device, without a server. `options` are those of `[models.NAME.options]`.
///
/// # Panics
/// If the model or an option is not accepted.
pub fn load(bytes: &[u8], options: &[(&str, &str)]) -> Box<dyn Model> {
    add();
    let backend: BackendName = "simulated".parse().expect("added");
    let backend = backend.open(&BackendSettings::Null, Path::new("")).expect("opened");
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let source = ModelSource {
        name: "m".into(),
        path: "m.onnx".into(),
        bytes: Arc::new(bytes.to_vec()),
        external: Vec::new(),
        device: plimsoll_runtime::nn::Device::Cpu,
        options,
    };
    backend.load(&source).expect("loaded")
}
