//! `Resize` and `Upsample` to the nearest element. The engine multiplies by the inverse of a scale, so it takes a neighbour
//! where a coordinate is close to a tie or to a whole number. Where that can matter, each axis becomes a `Gather` of indices
//! that are computed as onnxruntime 1.32 computes them: a division in FLOAT, and ties within [`TIE`].

use rten_onnx::onnx::{DataType, NodeProto};

use super::super::Replaced;
use super::super::division::exact_div;
use super::Geometry;
use super::indices::{Axis, Coordinates, Rounding, TIE};
use crate::node::{Attributes, Edit, cast, new};
use crate::site::Site;

/// What an axis needs.
enum Plan {
    /// The engine is right.
    Kept,
    /// The axis keeps its size and its elements.
    Unchanged,
    /// The elements to take.
    Known(Vec<i64>),
    /// The sizes are known only when the model runs.
    Computed,
}

/// Replaces the node unless the engine computes it exactly.
pub(super) fn nearest(node: NodeProto, geometry: &Geometry, site: &mut Site) -> Replaced {
    let is_upsample = node.op_type.as_deref() == Some("Upsample");
    let (coordinates, rounding) = if is_upsample {
        (Coordinates::Asymmetric, Rounding::Floor)
    } else {
        (
            Coordinates::of(node.text_or("coordinate_transformation_mode", "half_pixel")),
            Rounding::of(node.text_or("nearest_mode", "round_prefer_floor")),
        )
    };
    let plans: Vec<Plan> = geometry.axes.iter().map(|axis| plan(axis, coordinates, rounding)).collect();
    if plans.iter().all(|plan| matches!(plan, Plan::Kept | Plan::Unchanged)) {
        return Ok(vec![node]);
    }
    let mut resize = Nearest { geometry, coordinates, rounding, nodes: Vec::new(), site };
    let output = node.output[0].clone();
    let mut value = node.input[0].clone();
    let target = resize.target(&node);
    for (axis, plan) in plans.iter().enumerate() {
        let indices = match plan {
            Plan::Unchanged => continue,
            Plan::Known(indices) => resize.site.ints(indices),
            // The whole node is replaced, so the indices of axes that the engine could compute are computed here, too.
            Plan::Kept | Plan::Computed => resize.computed(axis, &node.input[0], &target),
        };
        let taken = resize.site.name("resized");
        resize.nodes.push(new("Gather", &[&value, &indices], &taken).with_int("axis", axis as i64));
        value = taken;
    }
    let mut nodes = resize.nodes;
    nodes.push(new("Identity", &[&value], &output));
    Ok(nodes)
}

fn plan(axis: &Axis, coordinates: Coordinates, rounding: Rounding) -> Plan {
    if axis.is_unchanged() {
        return Plan::Unchanged;
    }
    match (axis.indices(coordinates, rounding, false), axis.indices(coordinates, rounding, true)) {
        (Some(right), Some(engine)) if right == engine => Plan::Kept,
        (Some(right), _) => Plan::Known(right),
        (None, _) if axis.has_exact_scale() && coordinates != Coordinates::AlignCorners => Plan::Kept,
        (None, _) => Plan::Computed,
    }
}

struct Nearest<'a, 'b> {
    geometry: &'a Geometry,
    coordinates: Coordinates,
    rounding: Rounding,
    nodes: Vec<NodeProto>,
    site: &'a mut Site<'b>,
}

impl Nearest<'_, '_> {
    /// The sizes or scales as a value.
    fn target(&mut self, node: &NodeProto) -> String {
        if let Some(scales) = &self.geometry.attribute {
            return self.site.floats(scales);
        }
        // The check of sizes that a request states is put on this node.
        let target = self.site.name("target");
        let given = node.input(self.geometry.input).unwrap_or_default();
        self.nodes.push(new("Identity", &[given], &target));
        target
    }

    /// Adds a node; returns its output.
    fn add(&mut self, operator: &str, inputs: &[&str], purpose: &str) -> String {
        let output = self.site.name(purpose);
        self.nodes.push(new(operator, inputs, &output));
        output
    }

    /// An exact division.
    fn divide(&mut self, number: &str, divisor: &str, purpose: &str) -> String {
        let output = self.site.name(purpose);
        let nodes = exact_div(new("Div", &[number, divisor], &output), self.site);
        self.nodes.extend(nodes);
        output
    }

    fn float(&mut self, value: f32) -> String {
        self.site.scalar(DataType::FLOAT, value)
    }

    /// One element of a list, in FLOAT.
    fn element(&mut self, list: &str, axis: usize) -> String {
        let (place, number) = (self.site.scalar(DataType::INT64, axis as f32), self.site.name("number"));
        let element = self.add("Gather", &[list, &place], "element");
        self.nodes.push(cast(&element, DataType::FLOAT, &number));
        number
    }

    /// The indices of an axis whose size is known only when the model runs.
    fn computed(&mut self, axis: usize, value: &str, target: &str) -> String {
        let (zero, half, one) = (self.float(0.0), self.float(0.5), self.float(1.0));
        let shape = self.add("Shape", &[value], "shape");
        let (size, given) = (self.element(&shape, axis), self.element(target, axis));
        let (length, scale) = if self.geometry.gives_sizes {
            let scale = self.divide(&given, &size, "scale");
            (given, scale)
        } else {
            let product = self.add("Mul", &[&size, &given], "product");
            (self.add("Floor", &[&product], "length"), given)
        };
        // One more than needed, because the engine divides exactly only if there are several.
        let end = self.add("Add", &[&length, &one], "end");
        let places = self.add("Range", &[&zero, &end, &one], "places");
        let coordinate = match self.coordinates {
            Coordinates::Asymmetric => self.divide(&places, &scale, "coordinate"),
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => {
                let centre = self.add("Add", &[&places, &half], "centre");
                let ratio = self.divide(&centre, &scale, "ratio");
                let coordinate = self.add("Sub", &[&ratio, &half], "coordinate");
                if self.coordinates == Coordinates::HalfPixel {
                    coordinate
                } else {
                    let is_longer = self.add("Greater", &[&length, &one], "is_longer");
                    self.add("Where", &[&is_longer, &coordinate, &zero], "coordinate")
                }
            }
            Coordinates::AlignCorners => {
                let last = self.add("Sub", &[&size, &one], "last");
                let product = self.add("Mul", &[&places, &last], "product");
                let steps = self.add("Sub", &[&length, &one], "steps");
                let steps = self.add("Max", &[&steps, &one], "steps");
                self.divide(&product, &steps, "coordinate")
            }
        };
        let index = self.rounded(&coordinate);
        let last = self.add("Sub", &[&size, &one], "last");
        let least = self.add("Max", &[&index, &zero], "least");
        let fitting = self.add("Min", &[&least, &last], "fitting");
        let (first, end, whole) = (self.site.ints(&[0]), self.site.ints(&[-1]), self.site.name("indices"));
        let indices = self.add("Slice", &[&fitting, &first, &end], "places");
        self.nodes.push(cast(&indices, DataType::INT64, &whole));
        whole
    }

    /// The coordinates as whole numbers.
    fn rounded(&mut self, coordinate: &str) -> String {
        let (operator, limit) = match self.rounding {
            Rounding::Floor => return self.add("Floor", &[coordinate], "index"),
            Rounding::Ceil => return self.add("Ceil", &[coordinate], "index"),
            Rounding::PreferFloor => ("GreaterOrEqual", TIE),
            Rounding::PreferCeil => ("Greater", -TIE),
        };
        let (half, limit) = (self.float(0.5), self.float(limit));
        let floor = self.add("Floor", &[coordinate], "floor");
        let rest = self.add("Sub", &[coordinate, &floor], "rest");
        let beyond = self.add("Sub", &[&rest, &half], "beyond");
        let is_next = self.add(operator, &[&beyond, &limit], "is_next");
        let step = self.site.name("step");
        self.nodes.push(cast(&is_next, DataType::FLOAT, &step));
        self.add("Add", &[&floor, &step], "index")
    }
}
