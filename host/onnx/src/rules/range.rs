//! `Range`.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{FLOATS, kind};
use super::{Replaced, guard};
use crate::bounds::GUARDED;
use crate::node::{cast, new, title};
use crate::rejected::Reason;
use crate::site::Site;

/// From here on, FLOAT does not have all whole numbers.
const WHOLE_NUMBERS: f32 = 16_777_216.0;

/// The engine adds the step until it reaches the limit. Sums of fractions in FLOAT reach it too early or too late, and sums
/// beyond 32 bits never do.
pub(super) fn range(mut node: NodeProto, site: &mut Site) -> Replaced {
    match site.info(&node, 0).ty {
        None => return Err(super::arithmetic::type_needed()),
        Some(ty) if kind(ty) == FLOATS => {
            check_constants(&node, site)?;
            return Ok(of_whole_numbers(node, site));
        }
        Some(_) => {}
    }
    let (limit, step) = (site.info(&node, 1), site.info(&node, 2));
    let is_one = step.constant.as_ref().is_some_and(|values| values.iter().all(|value| value.abs() <= 1.0));
    if is_one || limit.bound + step.bound <= GUARDED {
        return Ok(vec![node]);
    }
    let mut nodes = Vec::new();
    let mut size = |index: usize, site: &mut Site| {
        let (number, size) = (site.name("number"), site.name("absolute"));
        nodes.push(cast(&node.input[index], DataType::FLOAT, &number));
        nodes.push(new("Abs", &[&number], &size));
        size
    };
    let (limit, step, sum) = (size(1, site), size(2, site), site.name("sum"));
    nodes.push(new("Add", &[&limit, &step], &sum));
    let text = format!("{}an integer exceeds 32 bits at node `{}`", guard::CHECK, title(&node));
    let checked = site.name("checked");
    nodes.extend(guard::check(&sum, GUARDED as f32, text, &node.input[2], &checked, site));
    node.input[2] = checked;
    nodes.push(node);
    Ok(nodes)
}

/// Every request would be refused if a constant start or step has a fraction, or a constant is too large.
fn check_constants(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    for (index, name) in ["start", "limit", "delta"].into_iter().enumerate() {
        let info = site.info(node, index);
        let Some(&[number]) = info.constant.as_deref() else { continue };
        if index != 1 && number.fract() != 0.0 || number.abs() > WHOLE_NUMBERS.into() {
            return Err(Reason::with_fix(
                format!(
                    "adds the step again and again, which gives other numbers and another count of them for fractions and for                      numbers beyond 2^24, and `{name}` is {number}"
                ),
                "use a range of whole numbers, and multiply it by the step",
            ));
        }
    }
    Ok(())
}

/// Lets a range of FLOAT fail while it runs unless start and step are whole numbers, and the numbers are small enough for
/// FLOAT to have all whole numbers between them.
fn of_whole_numbers(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let mut nodes = Vec::new();
    let mut add = |operator: &str, inputs: &[&str], site: &mut Site| {
        let output = site.name("whole");
        nodes.push(new(operator, inputs, &output));
        output
    };
    let mut total = site.scalar(DataType::FLOAT, 0.0);
    let many = site.scalar(DataType::FLOAT, 1e20);
    for index in 0..3 {
        let size = add("Abs", &[&node.input[index]], site);
        total = add("Add", &[&total, &size], site);
        if index != 1 {
            let floor = add("Floor", &[&size], site);
            let fraction = add("Sub", &[&size, &floor], site);
            let weighted = add("Mul", &[&fraction, &many], site);
            total = add("Add", &[&total, &weighted], site);
        }
    }
    let name = title(&node);
    let text = format!("{}a range of fractions or of large numbers is too large at node `{name}`", guard::CHECK);
    let checked = site.name("checked");
    nodes.extend(guard::check(&total, WHOLE_NUMBERS, text, &node.input[2], &checked, site));
    node.input[2] = checked;
    nodes.push(node);
    nodes
}
