//! Axes: each is a dimension of the value, and none is there twice.

use super::{Checked, Node};
use crate::node::{Attributes, Edit};

impl Node<'_> {
    pub(super) fn check_axes(&self) -> Checked {
        let Some(rank) = self.rank(0) else { return Ok(()) };
        match self.operator {
            "ArgMax" | "ArgMin" | "Concat" | "Gather" | "GatherElements" | "Hardmax" | "LayerNormalization"
            | "LogSoftmax" | "LpNormalization" | "RMSNormalization" | "Scatter" | "ScatterElements" | "Softmax"
            | "Split" | "SplitToSequence" | "TopK" => self.check_axis("axis", -rank, rank - 1),
            "Compress" | "Unique" => self.check_axis("axis", -rank, rank - 1),
            "Flatten" => self.check_axis("axis", -rank, rank),
            "OneHot" => self.check_axis("axis", -rank - 1, rank),
            "ReverseSequence" => {
                self.check_axis("batch_axis", -rank, rank - 1)?;
                self.check_axis("time_axis", -rank, rank - 1)
            }
            "CumSum" => match self.integers(1).as_deref() {
                Some(&[axis]) => is_inside("axis", axis, -rank, rank - 1),
                _ => Ok(()),
            },
            "Slice" => {
                let axes = if self.node.attribute("axes").is_some() { self.list("axes", 3) } else { self.integers(3) };
                axes.map_or(Ok(()), |axes| all_inside(&axes, rank))
            }
            "Pad" => self.integers(3).map_or(Ok(()), |axes| all_inside(&axes, rank)),
            "Squeeze" => {
                let Some(axes) = self.list("axes", 1) else { return Ok(()) };
                all_inside(&axes, rank)?;
                match axes.iter().find(|&&axis| self.size(0, axis).is_some_and(|size| size != 1)) {
                    Some(axis) => Err(format!("dimension {axis} is not 1, so it cannot be removed")),
                    None => Ok(()),
                }
            }
            "Unsqueeze" => {
                let Some(axes) = self.list("axes", 1) else { return Ok(()) };
                all_inside(&axes, rank + axes.len() as i64)
            }
            "Transpose" => match self.node.ints("perm") {
                Some(perm) if perm.len() as i64 != rank => {
                    Err(format!("`perm` {perm:?} does not fit a value of {rank} dimensions"))
                }
                _ => Ok(()),
            },
            operator if operator.starts_with("Reduce") => {
                self.list("axes", 1).map_or(Ok(()), |axes| all_inside(&axes, rank))
            }
            _ => Ok(()),
        }
    }

    /// An attribute that is a dimension, if it is there.
    fn check_axis(&self, attribute: &str, least: i64, most: i64) -> Checked {
        // The output of a softmax of a number has no dimensions either.
        if most < least || self.node.input(0).is_none() {
            return Ok(());
        }
        self.node.int(attribute).map_or(Ok(()), |axis| is_inside(attribute, axis, least, most))
    }
}

fn is_inside(name: &str, axis: i64, least: i64, most: i64) -> Checked {
    if (least..=most).contains(&axis) {
        return Ok(());
    }
    Err(format!("`{name}` is {axis}, but the dimensions of the value are {least} to {most}"))
}

/// All are dimensions of a value with this number of dimensions, and none is there twice.
fn all_inside(axes: &[i64], rank: i64) -> Checked {
    let mut seen = Vec::new();
    for &axis in axes {
        is_inside("axes", axis, -rank, rank - 1)?;
        let place = if axis < 0 { axis + rank } else { axis };
        if seen.contains(&place) {
            return Err(format!("`axes` {axes:?} contains a dimension twice"));
        }
        seen.push(place);
    }
    Ok(())
}
