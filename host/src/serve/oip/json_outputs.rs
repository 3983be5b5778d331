//! The outputs of a reply that are written as JSON. What has no form there is refused, before the run if the model declares
//! it.

use plimsoll_runtime::nn::Signature;

use super::datatype::Datatype;
use super::parameter::Parameters;
use super::tensor::{Data, Tensor};
use crate::serve::error::ServeError;

/// The parameter that requests one output as binary data.
const BINARY: &str = "binary_data";
/// The parameter that requests all outputs as binary data.
pub const BINARY_OUTPUT: &str = "binary_data_output";

/// Why an output cannot be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoJsonForm {
    /// Its datatype has no JSON form.
    #[error("output `{output}` is {datatype}, which has no JSON form; request it with `binary_data`: true")]
    Datatype {
        /// The output.
        output: String,
        /// Its datatype.
        datatype: Datatype,
    },
    /// JSON has no infinity. As `null` it would be read as a NaN.
    #[error("output `{0}` has an infinity, which JSON does not have; request it with `binary_data`: true")]
    Infinity(String),
}

impl From<NoJsonForm> for ServeError {
    fn from(error: NoJsonForm) -> Self {
        Self::invalid(error.to_string())
    }
}

/// The outputs that a request asks for as binary data. All others are written as JSON.
#[derive(Debug, Clone)]
pub struct BinaryOutputs {
    all: bool,
    outputs: Vec<(String, bool)>,
}

impl BinaryOutputs {
    /// Reads the parameters of a request, and those of its outputs, by their names.
    ///
    /// # Errors
    /// If one of them is not true or false.
    pub fn read<'a>(
        parameters: &Parameters,
        wanted: impl Iterator<Item = (&'a str, &'a Parameters)>,
    ) -> Result<Self, ServeError> {
        let boolean = |parameters: &Parameters, name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_bool()
                .map(Some)
                .ok_or_else(|| ServeError::invalid(format!("the parameter `{name}` must be true or false"))),
        };
        let mut outputs = Vec::new();
        for (name, parameters) in wanted {
            if let Some(binary) = boolean(parameters, BINARY)? {
                outputs.push((name.to_owned(), binary));
            }
        }
        Ok(Self { all: boolean(parameters, BINARY_OUTPUT)?.unwrap_or(false), outputs })
    }

    /// Returns true if an output is wanted as binary data.
    pub fn has(&self, name: &str) -> bool {
        self.outputs.iter().find(|(output, _)| output == name).map_or(self.all, |(_, binary)| *binary)
    }

    /// Checks the outputs that a model declares, if they are written.
    ///
    /// # Errors
    /// If one of them has no JSON form.
    pub fn check_declared(&self, declared: &[Signature], is_written: impl Fn(&str) -> bool) -> Result<(), NoJsonForm> {
        for output in declared.iter().filter(|output| is_written(&output.name) && !self.has(&output.name)) {
            if let Some(ty) = output.types.first() {
                check_datatype(&output.name, Datatype::from_nn(*ty))?;
            }
        }
        Ok(())
    }

    /// Checks the outputs of a run.
    ///
    /// # Errors
    /// If one of them has no JSON form.
    pub fn check(&self, outputs: &[Tensor]) -> Result<(), NoJsonForm> {
        for output in outputs.iter().filter(|output| !self.has(&output.name)) {
            check_datatype(&output.name, output.datatype)?;
            let Data::Fixed(bytes) = &output.data else { continue };
            let has_infinity = match output.datatype {
                Datatype::Fp32 => bytes.as_chunks::<4>().0.iter().any(|it| f32::from_le_bytes(*it).is_infinite()),
                Datatype::Fp64 => bytes.as_chunks::<8>().0.iter().any(|it| f64::from_le_bytes(*it).is_infinite()),
                _ => false,
            };
            if has_infinity {
                return Err(NoJsonForm::Infinity(output.name.clone()));
            }
        }
        Ok(())
    }
}

/// Checks that a datatype has a JSON form.
///
/// # Errors
/// If it has none.
pub fn check_datatype(output: &str, datatype: Datatype) -> Result<(), NoJsonForm> {
    match datatype {
        Datatype::Fp16 | Datatype::Bf16 => Err(NoJsonForm::Datatype { output: output.to_owned(), datatype }),
        _ => Ok(()),
    }
}
