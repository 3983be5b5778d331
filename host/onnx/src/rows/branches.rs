//! Values that one of several graphs computes: the branches of an `If`, and the rounds of a loop.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::size::Size;
use super::value::{Rows, Value};
use super::{Proof, Values};
use crate::node::Attributes;

/// A graph in an attribute.
pub(super) fn subgraph<'a>(node: &'a NodeProto, name: &str) -> Option<&'a GraphProto> {
    node.attribute(name)?.g.as_ref()
}

impl Proof {
    /// `If`: both branches must agree, unless the condition is known.
    pub(super) fn branches(&mut self, node: &NodeProto, inputs: &[&Value], values: &Values) -> Vec<Value> {
        let count = node.output.len();
        let all = |rows: Rows| vec![Value::new(rows, None); count];
        let (Some(condition), Some(then), Some(otherwise)) =
            (inputs.first(), subgraph(node, "then_branch"), subgraph(node, "else_branch"))
        else {
            return all(Rows::Unknown("is not valid".into()));
        };
        match &condition.rows {
            Rows::Mixed(_) => return all(condition.rows.clone()),
            Rows::Count => return all(Rows::Mixed("decides by the number of rows".into())),
            _ => {}
        }
        if let Some([known]) = condition.numbers().as_deref() {
            return self.graph(if *known == 0 { otherwise } else { then }, values, Vec::new());
        }
        let branches = [then, otherwise].map(|branch| self.graph(branch, values, Vec::new()));
        let [first, second] = branches;
        let condition_rows = condition.rows.clone();
        let joined = first.into_iter().zip(second).map(|(one, other)| {
            let joined = self.join(one, other, &mut Vec::new(), "has two different branches");
            match (&joined.rows, &condition_rows) {
                (_, Rows::Free) | (Rows::Mixed(_) | Rows::Unknown(_), _) => joined,
                (_, Rows::Unknown(why) | Rows::Listed(why)) => Value::unknown(why.clone()),
                (Rows::Free | Rows::One, Rows::One) => Value::new(Rows::One, None),
                _ => Value::unknown("decides for all rows by one of them"),
            }
        });
        joined.collect()
    }

    /// A value that is one of two. Sizes that differ become another size, which is added to `widened`; a size of `one`
    /// that is already in the list stays.
    pub(super) fn join(&mut self, one: Value, other: Value, widened: &mut Vec<Size>, differs: &str) -> Value {
        let rows = match (one.rows, other.rows) {
            (Rows::Mixed(why), _) | (_, Rows::Mixed(why)) => return Value::new(Rows::Mixed(why), None),
            (Rows::Unknown(why), _) | (_, Rows::Unknown(why)) => return Value::unknown(why),
            (Rows::Listed(why), Rows::Listed(_)) => Rows::Listed(why),
            (Rows::Free, Rows::Count) | (Rows::Count, Rows::Free) => Rows::Count,
            (Rows::Free, Rows::One) | (Rows::One, Rows::Free) => Rows::One,
            (one, other) if one == other => one,
            _ => return Value::unknown(differs),
        };
        let (Some(mut sizes), Some(others)) = (one.sizes, other.sizes) else { return Value::new(rows, None) };
        if sizes.len() != others.len() {
            return Value::new(rows, None);
        }
        for (axis, (size, other)) in sizes.iter_mut().zip(others).enumerate() {
            if *size == other {
                continue;
            }
            if rows == Rows::Along(axis) || size.has_rows() || other.has_rows() {
                return Value::unknown(differs);
            }
            if widened.contains(size) {
                continue;
            }
            *size = self.symbol();
            widened.push(size.clone());
        }
        let elements = one.elements.filter(|elements| other.elements.as_ref() == Some(elements));
        Value { elements, ..Value::new(rows, Some(sizes)) }
    }
}
