//! Which samples were run with other contents.

use serde::Serialize;

use crate::corpus::Sample;
use crate::variation::Inputs;

/// The samples of a class that had another content in each call, and those that had not.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OtherContents {
    /// Number of samples with as many contents as calls.
    pub many: usize,
    /// Number of samples with fewer contents, or only one.
    pub few: usize,
    /// The name of the sample with the fewest contents among these, and their number.
    pub fewest: Option<(String, u64)>,
}

impl OtherContents {
    /// Of the samples with the indices `members`.
    pub(crate) fn of(members: &[usize], samples: &[Sample], inputs: &Inputs<'_>) -> Self {
        let few: Vec<usize> = members.iter().copied().filter(|&sample| !inputs.has_many(sample)).collect();
        let fewest = few.iter().min_by_key(|sample| inputs.contents(**sample));
        Self {
            many: members.len() - few.len(),
            few: few.len(),
            fewest: fewest.map(|&sample| (samples[sample].name.clone(), inputs.contents(sample))),
        }
    }
}
