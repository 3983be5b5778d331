//! The device that a model runs on (`target` in the configuration).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::chip::Chip;

/// The device that a model runs on, written as `"cpu"`, `"cuda"`, `"cuda:1"` or the name of a chip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, through CUDA.
    Cuda(i32),
    /// A chip of the configuration.
    Chip(Arc<Chip>),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(device) => write!(f, "cuda:{device}"),
            Self::Chip(chip) => f.write_str(&chip.name),
        }
    }
}

/// Parses the devices that need no table of the configuration.
impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse::<u8>().ok());
        match (text, number) {
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(number)) => Ok(Self::Cuda(number.into())),
            _ => Err(UnknownDevice(text.to_owned())),
        }
    }
}

/// A text that does not name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid target; use \"cpu\", \"cuda\" or \"cuda:N\" with the number of the GPU, or the name of a \
     table of `[chips]`"
)]
pub struct UnknownDevice(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed_as_they_are_printed() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3))] {
            assert_eq!(text.parse(), Ok(device.clone()));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda3", "cuda:-1", "CPU", ""] {
            assert!(wrong.parse::<Device>().expect_err(wrong).to_string().contains("is not a valid target"));
        }
    }
}
