//! `[models.NAME]`: a model and how it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use plimsoll_runtime::nn::{BackendName, BatchRules, BatchSizes, Device, HangRule, HealthRules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::chips::not_scalar;
use super::stage::text_of;
use super::texts::{Scalar, Size, Time, optional_size};
use crate::base::oci::{OciError, OciReference};

/// `[models.NAME]`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The ONNX file, relative to the configuration file, or an `oci://` reference with a digest.
    pub file: PathBuf,
    /// The library that runs it.
    #[serde(default)]
    #[serde(serialize_with = "backend_text")]
    #[schemars(with = "String")]
    pub backend: BackendName,
    /// The device to run on: `cpu`, `cuda`, `cuda:N`, or a name of `[chips]`; default: the CPU.
    pub target: Option<String>,
    /// The device that `target` names.
    #[serde(skip)]
    pub device: Device,
    /// Maximum rows of one run, combined from requests that wait at the same time. By default runs are not combined.
    pub max_batch: Option<u32>,
    /// Accepts `max_batch` also if the graph of the model does not prove that its rows are independent.
    #[serde(default)]
    pub max_batch_unproven: bool,
    /// The numbers of rows that runs are padded to, in ascending order up to `max_batch`. By default the powers of two if
    /// the device prepares itself for new shapes (CUDA), and no padding otherwise.
    pub batch_sizes: Option<Vec<u32>>,
    /// How long the first request of a batch waits for others; default 2 ms.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub max_delay: Option<Duration>,
    /// How many runs in a row the device must fail until the model is taken out of service; default 3.
    pub device_failures: Option<u32>,
    /// How often a model that is out of service is tried again; default 10 s.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub device_retry: Option<Duration>,
    /// After this time, a run that has not ended means that the device hangs; `0s` switches this off. Default: 2 min, or ten
    /// times the longest run so far if that is longer; on the CPU it is off.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub hang_after: Option<Duration>,
    /// After this time, a model that is not loaded and prepared on its device is refused: a device is taken to hang, and on the CPU the
    /// process that tries the model is ended. `0s` switches this off. Default: 10 min; on the CPU 5 min.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "Option<Time>")]
    pub load_deadline: Option<Duration>,
    /// False loads a model on the CPU at once, and not in a process of its own first, which finds out whether the model would end
    /// the server.
    #[serde(default = "yes")]
    pub trial_load: bool,
    /// The most memory that the model may hold on its device when it is loaded and prepared. By default there is no cap.
    #[serde(serialize_with = "optional_size")]
    #[schemars(with = "Option<Size>")]
    pub max_device_memory: Option<ByteSize>,
    /// False serves a model on a device also if its outputs are not those on the CPU.
    #[serde(default = "yes")]
    pub compare_with_cpu: bool,
    /// Options of the execution provider that runs the model.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub options: BTreeMap<String, toml::Value>,
}

/// The text of a file that is in a registry.
pub(super) fn reference_of(file: &Path) -> Option<&str> {
    file.to_str().filter(|file| file.starts_with("oci://"))
}

/// Models are only taken by their digests: what a tag names may change.
fn reference_mistake(reference: &str) -> Option<String> {
    let parsed: OciReference = match reference.parse() {
        Ok(parsed) => parsed,
        Err(error) => return Some(OciError::to_string(&error)),
    };
    let wants = || format!("{parsed} has no digest; write the digest of its manifest too, as {parsed}@sha256:…");
    parsed.digest().is_none().then(wants)
}

fn backend_text<S: Serializer>(backend: &BackendName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(backend.as_str())
}

fn yes() -> bool {
    true
}

impl Model {
    /// The batching rules; `None` if runs are not combined.
    pub fn batch_rules(&self) -> Option<BatchRules> {
        /// Shorter than a run of all but the smallest networks, so a single caller waits only a little longer.
        const DEFAULT_MAX_DELAY: Duration = Duration::from_millis(2);
        let max_batch = self.max_batch?;
        Some(BatchRules { max_batch, max_delay: self.max_delay.unwrap_or(DEFAULT_MAX_DELAY) })
    }

    /// The numbers of rows that runs are padded to; `None` for the default.
    pub fn batch_sizes(&self) -> Option<BatchSizes> {
        BatchSizes::new(self.batch_sizes.clone()?, self.max_batch?).ok()
    }

    /// The options of the execution provider as text.
    pub fn options(&self) -> BTreeMap<String, String> {
        self.options.iter().map(|(name, value)| (name.clone(), text_of(value))).collect()
    }

    /// How long the model may take to be loaded and prepared; `None` if it may take any time.
    pub fn load_deadline(&self) -> Option<Duration> {
        /// Some providers compile a model for minutes.
        const OF_ACCELERATORS: Duration = Duration::from_secs(10 * 60);
        /// The library computes what follows from constants, and the first runs with every batch size are made.
        const OF_CPU: Duration = Duration::from_secs(5 * 60);
        let default = if self.device == Device::Cpu { OF_CPU } else { OF_ACCELERATORS };
        Some(self.load_deadline.unwrap_or(default)).filter(|time| !time.is_zero())
    }

    /// After which time the device of a model that is being loaded is taken to hang; `None` if it is never.
    pub fn hang_deadline(&self) -> Option<Duration> {
        self.load_deadline().filter(|_| self.device != Device::Cpu || self.load_deadline.is_some())
    }

    /// When the model is taken out of service because its device fails.
    pub fn health_rules(&self) -> HealthRules {
        let default = HealthRules::default();
        HealthRules {
            failures: self.device_failures.unwrap_or(default.failures),
            retry: self.device_retry.unwrap_or(default.retry),
            hang: match self.hang_after {
                Some(time) if time.is_zero() => HangRule::Never,
                Some(time) => HangRule::After(time),
                None if self.device == Device::Cpu => HangRule::Never,
                None => HangRule::OF_ACCELERATORS,
            },
        }
    }

    /// Returns true if a model that was loaded with these settings can be used for `other`, given the same file.
    pub fn runs_like(&self, other: &Self) -> bool {
        self.backend == other.backend
            && self.device == other.device
            && self.batch_rules() == other.batch_rules()
            && self.batch_sizes == other.batch_sizes
            && self.max_batch_unproven == other.max_batch_unproven
            && self.options() == other.options()
            && self.compare_with_cpu == other.compare_with_cpu
            && self.health_rules() == other.health_rules()
    }

    /// The reference of a model in a registry; `None` if it is a file.
    pub fn reference(&self) -> Option<&str> {
        reference_of(&self.file)
    }

    /// Key and reason of the first setting that is not valid.
    pub(super) fn mistake(&self) -> Option<(String, String)> {
        if let Some(reason) = self.reference().and_then(reference_mistake) {
            return Some(("file".into(), reason));
        }
        let without_batches =
            |key: &str| Some((key.to_owned(), "has no effect without `max_batch`; set `max_batch` too".to_owned()));
        match self.max_batch {
            Some(0 | 1) => {
                return Some(("max_batch".into(), "must be at least 2; remove it to disable batching".into()));
            }
            Some(max_batch) => {
                let sizes = self.batch_sizes.clone();
                if let Some(Err(error)) = sizes.map(|sizes| BatchSizes::new(sizes, max_batch)) {
                    return Some(("batch_sizes".into(), error.to_string()));
                }
            }
            None if self.max_delay.is_some() => return without_batches("max_delay"),
            None if self.max_batch_unproven => return without_batches("max_batch_unproven"),
            None if self.batch_sizes.is_some() => return without_batches("batch_sizes"),
            None => {}
        }
        if self.device_failures == Some(0) {
            return Some(("device_failures".into(), "must be at least 1; remove it for the default".into()));
        }
        if self.device_retry.is_some_and(|retry| retry.is_zero()) {
            return Some(("device_retry".into(), "must be greater than 0, for example \"10s\"".into()));
        }
        if self.max_device_memory.is_some_and(|cap| cap.as_u64() == 0) {
            return Some(("max_device_memory".into(), "must be greater than 0; remove it for no cap".into()));
        }
        not_scalar(&self.options)
    }
}
