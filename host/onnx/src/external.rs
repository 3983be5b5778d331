//! Tensors that are stored in files next to the model, as PyTorch's exporter writes them (`model.onnx.data`; ONNX,
//! "External Data"). They can be anywhere in a model, also where the parser does not look: in functions, in sparse tensors,
//! and in lists of tensors or graphs.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::well_formed::parse_model;
use crate::wire;

/// A file that a model names is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// The tensor does not say in which file it is.
    #[error("tensor `{0}` has external data without a location: export the model again")]
    NoLocation(String),
    /// The file is not in the folder of the model.
    #[error(
        "the model reads `{0}`, which is not a path inside the model's folder: store the weights next to the model \
         (`onnx.save_model` with a relative `location`)"
    )]
    Outside(String),
    /// The place in the file is stated in a way that readers understand differently.
    #[error("tensor `{tensor}` has external data with {problem}: export the model again")]
    Place {
        /// The name of the tensor.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
}

/// The files next to the model that contain its tensors: paths relative to the model's folder, each once. Empty for
/// bytes that are not an ONNX model.
///
/// # Errors
/// If a path is absolute or leaves the folder, or if the place of a tensor is not clear.
pub fn external_files(model: &[u8]) -> Result<Vec<String>, ExternalError> {
    Ok(search(model)?.files.into_iter().collect())
}

/// A tensor in a file that onnxruntime would read itself, from the working directory: it takes only the constants of the
/// main graph from memory (`InjectExternalInitializersFromFilesInMemory`). Returns the tensor's name and the file.
pub(crate) fn not_in_main_graph(model: &[u8]) -> Result<Option<(String, String)>, ExternalError> {
    Ok(search(model)?.elsewhere)
}

fn search(model: &[u8]) -> Result<Search, ExternalError> {
    let mut search = Search::default();
    if parse_model(model).is_some() {
        search.message(model, Message::Model, Place::Main, 0)?;
    }
    Ok(search)
}

#[derive(Default)]
struct Search {
    files: BTreeSet<String>,
    elsewhere: Option<(String, String)>,
}

/// Messages that contain tensors (`onnx.proto`).
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Training,
    Graph,
    Function,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In the main graph, or a `Constant` in it.
    Main,
    Elsewhere,
}

/// More than the parsers allow.
const MAX_DEPTH: usize = 200;

impl Message {
    /// The message in the field of a number.
    fn field(self, number: u32) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            _ => return None,
        })
    }
}

impl Search {
    fn message(&mut self, bytes: &[u8], message: Message, place: Place, depth: usize) -> Result<(), ExternalError> {
        let Some(fields) = wire::fields(bytes).filter(|_| depth < MAX_DEPTH) else { return Ok(()) };
        if message == Message::Tensor {
            return self.tensor(&fields, place);
        }
        const OPERATOR: u32 = 4;
        let is_constant = || fields.iter().any(|it| it.number == OPERATOR && it.value == Some(b"Constant".as_slice()));
        for field in &fields {
            let (Some(inner), Some(value)) = (message.field(field.number), field.value) else { continue };
            let stays = match (message, inner) {
                (Message::Model, Message::Graph) | (Message::Graph, Message::Node | Message::Tensor) => true,
                (Message::Node, _) => is_constant(),
                (Message::Attribute, Message::Tensor) => field.number == 5,
                _ => false,
            };
            self.message(value, inner, if stays { place } else { Place::Elsewhere }, depth + 1)?;
        }
        Ok(())
    }

    fn tensor(&mut self, fields: &[wire::Field<'_>], place: Place) -> Result<(), ExternalError> {
        const NAME: u32 = 8;
        const ENTRY: u32 = 13;
        const DATA_LOCATION: u32 = 14;
        // Readers take the low 32 bits of an enumeration: 1 is EXTERNAL.
        let is_external =
            |it: &wire::Field<'_>| it.number == DATA_LOCATION && it.varint().map(|it| it as u32) == Some(1);
        if !fields.iter().any(is_external) {
            return Ok(());
        }
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let tensor = text(fields.iter().rfind(|it| it.number == NAME).and_then(|it| it.value));
        let problem = |problem: String| ExternalError::Place { tensor: tensor.clone(), problem };
        let (mut keys, mut location) = (BTreeSet::new(), None);
        for entry in fields.iter().filter(|it| it.number == ENTRY) {
            let members = entry.value.and_then(wire::fields).unwrap_or_default();
            let member = |number: u32| text(members.iter().rfind(|it| it.number == number).and_then(|it| it.value));
            let (key, value) = (member(1), member(2));
            if !keys.insert(key.clone()) {
                return Err(problem(format!("more than one `{key}`")));
            }
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if matches!(key.as_str(), "offset" | "length") && !is_number {
                return Err(problem(format!("the {key} `{value}`, which is not a number")));
            }
            if key == "location" {
                location = Some(value);
            }
        }
        let Some(location) = location else { return Err(ExternalError::NoLocation(tensor)) };
        // Backslashes separate folders on Windows, where the model may have been written or may be read.
        let is_inside = !location.is_empty()
            && !location.contains('\\')
            && Path::new(&location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside {
            return Err(ExternalError::Outside(location));
        }
        if place == Place::Elsewhere {
            self.elsewhere.get_or_insert_with(|| (tensor, location.clone()));
        }
        self.files.insert(location);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor `w` with entries.
    fn tensor(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::write(&mut bytes, 8, b"w");
        for (key, value) in entries {
            let mut entry = Vec::new();
            wire::write(&mut entry, 1, key.as_bytes());
            wire::write(&mut entry, 2, value.as_bytes());
            wire::write(&mut bytes, 13, &entry);
        }
        bytes.extend([14 << 3, 1]);
        bytes
    }

    fn inside(path: &[u32], operator: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = content.to_vec();
        for (depth, &number) in path.iter().enumerate().rev() {
            let mut outer = Vec::new();
            wire::write(&mut outer, number, &bytes);
            // The message around an attribute is a node.
            if number == 5 && depth == 2 {
                wire::write(&mut outer, 4, operator.as_bytes());
            }
            bytes = outer;
        }
        bytes
    }

    #[test]
    fn a_tensor_in_a_file_is_found_everywhere_and_in_the_main_graph_only_is_it_taken_from_memory() {
        let file = tensor(&[("location", "w.bin"), ("offset", "8")]);
        for (path, operator, is_main) in [
            (&[7, 5][..], "", true),
            (&[7, 1, 5, 5], "Constant", true),
            (&[7, 1, 5, 5], "ConstantOfShape", false),
            (&[7, 1, 5, 10], "Constant", false),
            (&[7, 1, 5, 6, 5], "If", false),
            (&[7, 1, 5, 6, 1, 5, 5], "If", false),
            (&[7, 1, 5, 11, 5], "If", false),
            (&[7, 1, 5, 22, 1], "Constant", false),
            (&[7, 15, 1], "", false),
            (&[7, 15, 2], "", false),
            (&[25, 7, 5, 5], "Constant", false),
            (&[25, 11, 5], "", false),
            (&[20, 1, 5], "", false),
        ] {
            let model = inside(path, operator, &file);
            assert_eq!(external_files(&model), Ok(vec!["w.bin".to_owned()]), "{path:?}");
            let elsewhere = (!is_main).then(|| ("w".to_owned(), "w.bin".to_owned()));
            assert_eq!(not_in_main_graph(&model), Ok(elsewhere), "{path:?}");
        }
    }

    #[test]
    fn a_place_that_readers_understand_differently_is_refused() {
        let of = |entries: &[(&str, &str)]| external_files(&inside(&[7, 5], "", &tensor(entries)));
        assert!(of(&[("location", "./w.bin"), ("offset", "08"), ("length", "4")]).is_ok());
        for offset in [" 8", "+8", "8 ", "-8", "0x8", ""] {
            let error = of(&[("location", "w.bin"), ("offset", offset)]).expect_err("refused").to_string();
            assert!(error.contains(&format!("the offset `{offset}`")), "{error}");
        }
        let error = of(&[("location", "w.bin"), ("location", "v.bin")]).expect_err("refused").to_string();
        assert!(error.contains("more than one `location`"), "{error}");
        assert_eq!(of(&[("offset", "8")]), Err(ExternalError::NoLocation("w".into())));
        assert_eq!(of(&[("location", "../w.bin")]), Err(ExternalError::Outside("../w.bin".into())));
    }
}
