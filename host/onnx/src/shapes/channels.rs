//! Convolutions, pools and normalizations: the numbers of channels, and windows with as many dimensions as the value.

use super::{Checked, Node};
use crate::node::{Attributes, Edit};

/// Computes the numbers of channels of the input and of the output from the first two dimensions of the weights, and a
/// function that multiplies with the number of groups.
type Channels = fn([Option<i64>; 2], &dyn Fn(Option<i64>) -> Option<i64>) -> [Option<i64>; 2];

impl Node<'_> {
    pub(super) fn check_channels(&self) -> Checked {
        match self.operator {
            "Conv" => self.check_convolution(|weights, times_group| [times_group(weights[1]), weights[0]]),
            "ConvTranspose" => self.check_convolution(|weights, times_group| [weights[0], times_group(weights[1])]),
            "AveragePool" | "LpPool" | "MaxPool" => match (self.rank(0), self.node.ints("kernel_shape")) {
                (Some(rank), Some(kernel)) if !kernel.is_empty() && kernel.len() as i64 + 2 != rank => {
                    Err(format!("the window has {} dimensions, but the value {rank}", kernel.len()))
                }
                _ => Ok(()),
            },
            "BatchNormalization" => (1..5).try_for_each(|index| self.is_per_channel(index)),
            "InstanceNormalization" => (1..3).try_for_each(|index| self.is_per_channel(index)),
            "GroupNormalization" => self.check_groups(),
            "DepthToSpace" | "SpaceToDepth" => {
                let Some(block) = self.node.int("blocksize") else { return Ok(()) };
                let needed = if self.operator == "DepthToSpace" { block.checked_mul(block) } else { None };
                match (self.size(0, 1), needed) {
                    (Some(channels), Some(needed))
                        if self.rank(0) == Some(4) && needed > 0 && channels % needed != 0 =>
                    {
                        Err(format!("{channels} channels cannot be divided by {needed}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A convolution.
    fn check_convolution(&self, channels: Channels) -> Checked {
        let group = self.node.int_or("group", 1);
        let (rank, weights) = (self.rank(0), self.rank(1));
        if let (Some(rank), Some(weights)) = (rank, weights)
            && rank != weights
        {
            return Err(format!("the value has {rank} dimensions, but the weights {weights}"));
        }
        let Some(rank) = rank.or(weights) else { return Ok(()) };
        if rank < 3 {
            return Err(format!("a value of {rank} dimensions has no width"));
        }
        let spatial = rank - 2;
        let length = |name: &str| self.node.ints(name).map(|list| list.len() as i64).filter(|&length| length > 0);
        for name in ["kernel_shape", "strides", "dilations", "output_padding"] {
            if length(name).is_some_and(|length| length != spatial) {
                return Err(format!("`{name}` is not for {spatial} dimensions"));
            }
        }
        if length("pads").is_some_and(|length| length != 2 * spatial) {
            return Err(format!("`pads` is not for {spatial} dimensions"));
        }
        for (index, &size) in self.node.ints("kernel_shape").unwrap_or_default().iter().enumerate() {
            if let Some(actual) = self.size(1, 2 + index as i64)
                && actual != size
            {
                return Err(format!("`kernel_shape` says {size}, but the weights have {actual} in dimension {index}"));
            }
        }
        let first_two = [self.size(1, 0), self.size(1, 1)];
        if first_two[0].is_some_and(|size| size % group != 0) {
            return Err(format!(
                "{} channels of weights cannot be divided into {group} groups",
                first_two[0].unwrap_or(0)
            ));
        }
        let [takes, gives] = channels(first_two, &|size| size.and_then(|size| size.checked_mul(group)));
        match (self.size(0, 1), takes) {
            (Some(given), Some(needed)) if given != needed => {
                return Err(format!("the value has {given} channels, but the weights are for {needed}"));
            }
            _ => {}
        }
        match (self.size(2, 0), gives) {
            (Some(length), Some(channels)) if length != channels => {
                Err(format!("the offset has {length} elements, but the result {channels} channels"))
            }
            _ => Ok(()),
        }
    }

    /// An input has one element for each channel.
    fn is_per_channel(&self, index: usize) -> Checked {
        // With `spatial = 0`, old operator sets have one for each element.
        if self.node.int_or("spatial", 1) == 0 {
            return Ok(());
        }
        match (self.rank(index), self.size(0, 1), self.size(index, 0)) {
            (Some(1), Some(channels), Some(length)) if self.rank(0) >= Some(2) && channels != length => {
                Err(format!("input {index} has {length} elements, but the value {channels} channels"))
            }
            (Some(rank), _, _) if rank != 1 => Err(format!("input {index} has {rank} dimensions instead of 1")),
            _ => Ok(()),
        }
    }

    fn check_groups(&self) -> Checked {
        let (Some(groups), Some(channels)) = (self.node.int("num_groups"), self.size(0, 1)) else { return Ok(()) };
        if groups > 0 && channels % groups != 0 {
            return Err(format!("{channels} channels cannot be divided into {groups} groups (`num_groups`)"));
        }
        // Before operator set 21, there is one scale for each group.
        let expected = if self.opset < 21 { groups } else { channels };
        let found = [1, 2].into_iter().find_map(|index| self.size(index, 0).filter(|&length| length != expected));
        found.map_or(Ok(()), |length| Err(format!("a scale or an offset has {length} elements instead of {expected}")))
    }
}

impl Node<'_> {
    /// True if an input is there.
    pub(super) fn has(&self, index: usize) -> bool {
        self.node.input(index).is_some()
    }
}
