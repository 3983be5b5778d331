//! Prepares ONNX models for [rten](https://docs.rs/rten), so that rten computes what ONNX defines, or the model is
//! rejected.
//!
//! rten reads every file as a recent operator set, computes 64-bit integers as 32-bit integers, and implements some
//! operators differently from the [ONNX operator specification](https://onnx.ai/onnx/operators/). This crate walks
//! through a model before rten sees it. For each node, one rule of `rules` decides: the node stays, it is replaced by
//! nodes with exactly the same meaning that rten computes correctly, or the model is rejected with the reason. Operators
//! without a rule are rejected.
//!
//! In reading order:
//! - `prepare`: the entry point. [`Rejected`]: the error.
//! - `walk`: visits the nodes of the graph and of the subgraphs in `If` and `Loop`. `site`: what a rule sees.
//! - `rules`: one function per operator or family of operators.
//! - `types`: what is known about a value. `infer`: what follows from a node about its outputs: element type, rank and
//!   sizes; `stated`: sizes that a request states; `bounds`: how large the numbers can be; `special`: whether they can be NaN, infinite or negative; `zeros`: which signs zeros have; `fold`: small
//!   constants.
//! - `claims`: checks of what only the file says.
//! - `uses`: what the model does with its values later. `symbols`: makes the declared shapes harmless.
//! - `well_formed` and `valid`: what the encoding, nodes and constants must have before anything else reads them.
//! - `shapes`: whether nodes can run with the shapes of their values.
//! - `node`: reads attributes and creates nodes. `tensor`: reads and creates constants.
//! - `onnxruntime`: the other backend: what it computes differently, trusts or optimises wrongly. `wire`: edits its files.
//! - `rows`: the proof that the rows of a batch do not depend on each other.
//! - `run_size`: how large the values of a run become, from the shapes of its inputs.
//! - `description`: what a file says about itself.
//! - `external`: tensors that are stored in files next to the model. `weights`: brings them into the model.
//!
//! The host and the guest `infer-wasm` use the same crate, so both give the same answers.

mod arity;
mod bounds;
mod claims;
mod description;
mod external;
mod fold;
mod half;
mod infer;
mod node;
mod onnxruntime;
mod panics;
mod paths;
mod rejected;
mod rows;
mod rules;
mod run_size;
mod shapes;
mod site;
mod special;
mod stated;
mod symbols;
mod tensor;
mod types;
mod uses;
mod valid;
mod walk;
mod weights;
mod well_formed;
mod wire;
mod zeros;

use std::collections::HashMap;

use rten_onnx::onnx::{GraphProto, ModelProto, TensorProto, ValueInfoProto};

pub use description::{Description, ValueDescription, describe};
pub use external::{ExternalError, external_files};
pub use onnxruntime::{
    DeclaredShape, DifferentNode, FAILING_CHECK, ForOnnxRuntime, OpenVinoDifference, prepare_onnxruntime,
    time_depends_on_values,
};
pub use rejected::Rejected;
pub use rows::{RowProof, prove_rows};
pub use rules::refused;
pub use run_size::{GivenInput, KnownShape, LARGEST_TOTAL, LARGEST_VALUE, LargestValue, RunPeaks, RunSizes};
pub use weights::File;
use well_formed::parse_model;

/// The parser, for fuzzing: a checked file, and the functions that the parser does not read.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Parses an ONNX file as [`crate::prepare`] does.
    pub fn parse(bytes: &[u8]) -> Option<super::ModelProto> {
        super::parse_model(bytes)
    }

    /// The fields of the model that hold functions, as they are.
    pub fn functions(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for field in crate::wire::fields(bytes).unwrap_or_default() {
            if field.number == 25 {
                crate::wire::copy(&mut out, &field);
            }
        }
        out
    }
}

/// The engine, as messages name it.
const ENGINE: &str = "rten";
/// The newest operator set that the rules were checked for (ONNX 1.22).
const NEWEST_OPSET: i64 = 27;

/// A model that the engine computes correctly.
pub struct Prepared {
    /// The ONNX file for the engine.
    pub bytes: Vec<u8>,
    /// The outputs, in order. The engine loses the names of outputs that it computes when it loads the model.
    pub outputs: Vec<Output>,
    /// The element types of the inputs as the file declares them, in ONNX's words, for example `FLOAT16`. The engine
    /// reports the types in which it computes.
    pub input_types: HashMap<String, &'static str>,
    /// The names that the engine needs for the files with weights, in the order in which they were given.
    pub files: Vec<String>,
    /// True if the engine computes some operators of the model wrongly for NaN and infinities, so that inputs with
    /// numbers that [`is_moderate`] does not accept must be refused.
    pub needs_moderate_inputs: bool,
    /// True if a constant has no elements. The engine panics if it prepares such weights when it loads the model.
    pub has_empty_constants: bool,
    /// The number of nodes of the longest path. The engine needs as many levels of the stack, when it loads the model and when
    /// it runs it first with other inputs or outputs.
    pub longest_path: u64,
}

/// An output of a model.
pub struct Output {
    /// The name.
    pub name: String,
    /// The sizes of the dimensions as the file declares them, `None` for a dynamic one; `None` as a whole without a shape.
    pub shape: Option<Vec<Option<u32>>>,
}

/// True if sums and products of a few such numbers stay finite in FLOAT.
pub fn is_moderate(number: f32) -> bool {
    number.abs() <= 1e18
}

/// Converts an ONNX file to one that rten computes correctly. `files` are the files that [`external_files`] names.
///
/// A model without a graph is returned unchanged; the engine rejects it.
///
/// # Errors
/// If the bytes are not an ONNX model, on which the engine might never end, or if rten would compute a node wrongly or
/// cannot run it. The error names the node and how to continue.
pub fn prepare(bytes: Vec<u8>, files: &[File]) -> Result<Prepared, Rejected> {
    panics::rejected(|| prepare_checked(bytes, files))
}

fn prepare_checked(bytes: Vec<u8>, files: &[File]) -> Result<Prepared, Rejected> {
    let unchanged = |bytes| Prepared {
        bytes,
        outputs: Vec::new(),
        input_types: HashMap::new(),
        files: Vec::new(),
        needs_moderate_inputs: false,
        has_empty_constants: false,
        longest_path: 0,
    };
    let Some(mut model) = parse_model(&bytes) else {
        return Err(Rejected::model("the file is not a valid ONNX model; export or copy it again".into()));
    };
    let Some(graph) = &model.graph else { return Ok(unchanged(bytes)) };
    valid::check_sparse(&bytes)?;
    drop(bytes);
    let outputs = graph.output.iter().map(output).collect();
    let input_types = graph.input.iter().filter_map(input_type).collect();
    let opset = opset(&model)?;
    valid::check(graph, opset)?;
    shapes::check(graph, opset)?;
    run_size::check_loading(graph, opset, true)?;
    let special = weights::resolve(&mut model, files)?;
    let needs_moderate_inputs = walk::model(&mut model, opset, special)?;
    let mut longest_path = 0;
    if let Some(graph) = &mut model.graph {
        symbols::separate(graph);
        longest_path = paths::check(graph, opset)?;
    }
    let has_empty_constants = model.graph.as_ref().is_some_and(has_empty_constants);
    let bytes = model
        .write_buf()
        .map_err(|error| Rejected::model(format!("the corrected model cannot be written: {error}")))?;
    let files = (0..files.len()).map(weights::engine_name).collect();
    Ok(Prepared { bytes, outputs, input_types, files, needs_moderate_inputs, has_empty_constants, longest_path })
}

/// True if a constant of the graph, or of a graph inside of it, has no elements.
fn has_empty_constants(graph: &GraphProto) -> bool {
    let is_empty = |tensor: &TensorProto| tensor.dims.contains(&0);
    let mut attributes = graph.node.iter().flat_map(|node| &node.attribute);
    graph.initializer.iter().any(is_empty)
        || attributes.any(|it| it.t.as_ref().is_some_and(is_empty) || it.g.as_ref().is_some_and(has_empty_constants))
}

/// The name and the declared element type of an input.
fn input_type(value: &ValueInfoProto) -> Option<(String, &'static str)> {
    let tensor = value.r#type.as_ref()?.tensor_type.as_ref()?;
    Some((value.name.clone()?, description::element(tensor.elem_type?)?))
}

fn output(value: &ValueInfoProto) -> Output {
    let tensor = value.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let size = |size: Option<i64>| size.and_then(|size| u32::try_from(size).ok());
    Output {
        name: value.name.clone().unwrap_or_default(),
        shape: shape.map(|shape| shape.dim.iter().map(|dimension| size(dimension.dim_value)).collect()),
    }
}

/// The version of the standard operator set.
fn opset(model: &ModelProto) -> Result<i64, Rejected> {
    let mut versions =
        model.opset_import.iter().filter(|set| node::is_standard(set.domain.as_deref())).map(|set| set.version);
    let first = versions.next().flatten();
    if versions.any(|other| other != first) {
        return Err(Rejected::model(
            "the file states several versions of the standard operator set (`opset_import`), and programs take different \
             ones: keep one"
                .into(),
        ));
    }
    let Some(version) = first else {
        return Err(Rejected::model(
            "the file does not state a version of the standard operator set (`opset_import`): export the model again"
                .into(),
        ));
    };
    if version > NEWEST_OPSET {
        return Err(Rejected::model(format!(
            "it uses operator set {version}; {ENGINE} is checked up to {NEWEST_OPSET}: export the model with an older \
             operator set, or use the backend `onnxruntime`"
        )));
    }
    Ok(version)
}
