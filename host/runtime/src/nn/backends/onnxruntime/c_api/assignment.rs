//! Which execution provider computes which nodes of a model. The crate `ort` has no function for it, so this file calls
//! the C interface of ONNX Runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::session::Session;
use ort::{AsPointer, Error, sys};

use crate::nn::chip::Placement;

/// The entry of a session's configuration that makes the library record the assignment.
pub(in crate::nn) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// The nodes of each provider, of a session that was made with [`RECORD`].
#[allow(unsafe_code, reason = "no safe function reports that a part of a model does not run on the chip")]
pub(in crate::nn) fn assignment(session: &Session) -> Result<Vec<Placement>, Error> {
    let api = ort::api();
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    let mut providers: BTreeMap<String, (usize, BTreeSet<String>)> = BTreeMap::new();
    // SAFETY: `onnxruntime_c_api.h` documents these functions. All of them only read the session, which lives until the
    // end of this function, because `session` is borrowed. They return a status, which `result_from_status` takes over,
    // and write to the places that are given: a pointer to an array and its length, or a pointer to a text that ends
    // with NUL. The arrays, what they point to and the texts belong to the session. They are read only after their
    // status was no error, only within the given length, and the texts are copied. The library is at least version
    // 1.24, whose table of functions has these: `ort` refuses to load an older one (feature `api-24`).
    unsafe {
        let status = (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut count);
        Error::result_from_status(status)?;
        for index in 0..count {
            let subgraph: *const sys::OrtEpAssignedSubgraph = *subgraphs.add(index);
            let mut name: *const c_char = ptr::null();
            Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
            let (mut nodes, mut node_count) = (ptr::null(), 0);
            Error::result_from_status((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count))?;
            let provider = providers.entry(text(name)).or_default();
            provider.0 += node_count;
            for node in 0..node_count {
                let node: *const sys::OrtEpAssignedNode = *nodes.add(node);
                let mut operator: *const c_char = ptr::null();
                Error::result_from_status((api.EpAssignedNode_GetOperatorType)(node, &mut operator))?;
                provider.1.insert(text(operator));
            }
        }
    }
    let placement = |(provider, (nodes, operators)): (String, (usize, BTreeSet<String>))| Placement {
        provider,
        nodes,
        operators: operators.into_iter().collect(),
    };
    Ok(providers.into_iter().map(placement).collect())
}

/// A copy of a text.
///
/// # Safety
/// `text` is null, or points to a text that ends with NUL and lives during the call.
#[allow(unsafe_code, reason = "see `assignment`")]
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller guarantees it.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
