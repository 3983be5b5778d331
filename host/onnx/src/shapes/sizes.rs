//! The sizes of results, as far as they follow from sizes of the inputs. What `infer` knows is not repeated.

use super::Node;
use crate::node::Attributes;

type Sizes = Vec<Option<i64>>;

impl Node<'_> {
    /// The sizes of the first output.
    pub(super) fn sizes(&self) -> Option<Sizes> {
        let rank = |index: usize| self.rank(index).and_then(|rank| usize::try_from(rank).ok());
        match self.operator {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Where" | "Equal" | "Greater" | "Less" => {
                self.broadcast()
            }
            // The batch and the channels.
            "Conv" => self.with_channels(self.size(1, 0)),
            "ConvTranspose" => {
                let channels = self.size(1, 1).and_then(|size| size.checked_mul(self.node.int_or("group", 1)));
                self.with_channels(channels)
            }
            "AveragePool" | "MaxPool" => self.with_channels(self.size(0, 1)),
            "GlobalAveragePool" | "GlobalMaxPool" => {
                let mut sizes = vec![Some(1); rank(0).filter(|&rank| rank >= 2)?];
                (sizes[0], sizes[1]) = (self.size(0, 0), self.size(0, 1));
                Some(sizes)
            }
            "MatMul" => {
                let (left, right) = (rank(0)?, rank(1)?);
                if left < 2 || right < 2 {
                    return None;
                }
                let mut sizes = vec![None; left.max(right)];
                let last = sizes.len();
                (sizes[last - 2], sizes[last - 1]) = (self.size(0, -2), self.size(1, -1));
                Some(sizes)
            }
            "Gemm" => {
                let is_set = |name: &str| i64::from(self.node.int_or(name, 0) != 0);
                Some(vec![self.size(0, is_set("transA")), self.size(1, 1 - is_set("transB"))])
            }
            "Reshape" => {
                let shape = self.list("shape", 1)?;
                let keeps = self.node.int_or("allowzero", 0) == 0;
                let size = |(index, &size): (usize, &i64)| match size {
                    0 if keeps => self.size(0, index as i64),
                    -1 => None,
                    size => Some(size),
                };
                Some(shape.iter().enumerate().map(size).collect())
            }
            "Concat" => {
                let axis = self.node.int("axis")?;
                let mut sizes: Sizes = (0..rank(0)? as i64).map(|index| self.size(0, index)).collect();
                let place = if axis < 0 { axis + sizes.len() as i64 } else { axis };
                let parts = (0..self.node.input.len()).map(|index| self.size(index, place));
                let sum = parts.into_iter().try_fold(0_i64, |sum, part| sum.checked_add(part?));
                *sizes.get_mut(usize::try_from(place).ok()?)? = sum;
                Some(sizes)
            }
            _ => None,
        }
    }

    /// The batch, a number of channels, and sizes that are not known.
    fn with_channels(&self, channels: Option<i64>) -> Option<Sizes> {
        let rank = self.rank(0).or_else(|| self.rank(1)).and_then(|rank| usize::try_from(rank).ok())?;
        let mut sizes = vec![None; rank];
        *sizes.first_mut()? = self.size(0, 0);
        *sizes.get_mut(1)? = channels;
        Some(sizes)
    }

    fn broadcast(&self) -> Option<Sizes> {
        let inputs = 0..self.node.input.len();
        let ranks: Option<Vec<i64>> = inputs.clone().map(|index| self.rank(index)).collect();
        let (ranks, most) = ranks.and_then(|ranks| ranks.iter().max().copied().map(|most| (ranks, most)))?;
        let of_axis = |axis: i64| {
            let sizes = inputs.clone().zip(&ranks).filter(|&(_, &rank)| rank >= axis);
            let sizes: Option<Vec<i64>> = sizes.map(|(index, _)| self.size(index, -axis)).collect();
            // A size that is not known can be 1 or that of another input.
            sizes.and_then(|sizes| sizes.iter().copied().find(|&size| size != 1).or(sizes.first().copied()))
        };
        Some((1..=most).rev().map(of_axis).collect())
    }
}
