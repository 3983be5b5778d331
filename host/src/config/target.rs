//! `target` of a model: the device that it runs on.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// The device that a model runs on, written as `"cpu"`, `"cuda"` or `"cuda:1"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number, through CUDA.
    Cuda(i32),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(device) => write!(f, "cuda:{device}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let device = text.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        match (text, device) {
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(device)) if device.parse::<u8>().is_ok() && text.contains(':') => {
                Ok(Self::Cuda(device.parse::<u8>().map_or(0, i32::from)))
            }
            _ => {
                Err(format!("`{text}` is no target; write \"cpu\", \"cuda\" or \"cuda:N\" with the number of the GPU"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_written() {
        for (text, target) in [("cpu", Target::Cpu), ("cuda", Target::Cuda(0)), ("cuda:3", Target::Cuda(3))] {
            assert_eq!(text.parse(), Ok(target));
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda3", "cuda:-1", "CPU", ""] {
            assert!(wrong.parse::<Target>().expect_err(wrong).contains("is no target"));
        }
    }
}
