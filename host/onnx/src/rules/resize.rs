//! `Resize` and `Upsample`.

mod indices;
mod nearest;

use rten_onnx::onnx::NodeProto;

use super::Replaced;
use super::arithmetic::rank_needed;
use crate::node::{Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;
use indices::Axis;

/// `Resize`. The engine computes `cubic` as `linear`, and with `align_corners` it derives the scale from rounded sizes.
pub(super) fn resize(mut node: NodeProto, site: &mut Site) -> Replaced {
    let mode = node.text_or("mode", "nearest").to_owned();
    if mode == "cubic" {
        return Err(Reason::with_fix("does not support the mode `cubic`", "export the model with the mode `linear`"));
    }
    super::only_int(&node, "antialias", 0)?;
    super::only_int(&node, "exclude_outside", 0)?;
    super::only_text(&node, "keep_aspect_ratio_policy", &["stretch"])?;
    super::only_text(
        &node,
        "coordinate_transformation_mode",
        &["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"],
    )?;
    if site.opset < 11 {
        return Err(Reason::with_fix(
            "does not support `Resize` of operator set 10",
            "export with operator set 11 or newer",
        ));
    }
    if node.attribute("axes").is_some() {
        return Err(Reason::with_fix("does not support `axes`", "give a scale or size for every dimension"));
    }
    // They only apply to modes that are rejected above.
    node.remove("extrapolation_value");
    node.remove("cubic_coeff_a");
    check_rank(&node, &mode, site)?;
    if node.text_or("coordinate_transformation_mode", "half_pixel") == "align_corners" && node.input(3).is_none() {
        check_scales(&node, 2, site)?;
    }
    resized(node, &mode, site)
}

/// `Upsample`, which operator set 10 replaced by `Resize`.
pub(super) fn upsample(node: NodeProto, site: &mut Site) -> Replaced {
    let mode = node.text_or("mode", "nearest").to_owned();
    check_rank(&node, &mode, site)?;
    let stated = node.attribute("scales").map(|scales| scales.floats.iter().any(|&scale| scale < 1.0));
    let given = || site.info(&node, 1).constant.is_some_and(|scales| scales.iter().any(|&scale| scale < 1.0));
    if stated.unwrap_or_else(given) {
        let reason = "`Upsample` only enlarges: each scale is at least 1 (ONNX, `Upsample`)";
        return Err(Reason::with_fix(reason, "use `Resize` to reduce"));
    }
    resized(node, &mode, site)
}

/// The sizes of a resize, as far as they are known before the model runs.
struct Geometry {
    axes: Vec<Axis>,
    /// The input with the sizes or scales.
    input: usize,
    /// True if it has sizes.
    gives_sizes: bool,
    /// The scales, if they are an attribute.
    attribute: Option<Vec<f32>>,
}

impl Geometry {
    /// `None` if the number of dimensions is not known.
    fn of(node: &NodeProto, site: &Site) -> Option<Self> {
        let is_upsample = node.op_type.as_deref() == Some("Upsample");
        let is_empty = |index: usize| site.info(node, index).size(0) == Some(0);
        // The engine takes the scales if both are given.
        let has_scales = is_upsample || node.input(2).is_some() && !is_empty(2);
        let input = if is_upsample { 1 } else { 2 + usize::from(!has_scales) };
        let attribute = node.attribute("scales").map(|scales| scales.floats.clone());
        let data = site.info(node, 0);
        let given = site.info(node, input);
        let rank = data.rank.or(given.stated_rank()).or(attribute.as_ref().map(Vec::len))?;
        let number = |axis: usize| match &attribute {
            Some(scales) => scales.get(axis).map(|&scale| f64::from(scale)),
            None => given.constant.as_ref()?.get(axis).copied(),
        };
        let axis = |axis: usize| {
            let (size, given) = (data.size(axis as i64), number(axis));
            let (length, scale) = if has_scales {
                let scale = given.map(|scale| scale as f32);
                (size.zip(scale).map(|(size, scale)| (size as f32 * scale).floor() as i64), scale)
            } else {
                let length = given.map(|length| length as i64);
                (length, size.zip(length).map(|(size, length)| length as f32 / size as f32))
            };
            Axis { size, length, scale, is_by_size: !has_scales }
        };
        Some(Self { axes: (0..rank).map(axis).collect(), input, gives_sizes: !has_scales, attribute })
    }

    /// True if the scales may keep all sizes although they are not all 1. onnxruntime then copies the value; ONNX does not
    /// say that.
    fn may_only_shift(&self) -> bool {
        !self.gives_sizes
            && self.axes.iter().all(Axis::may_keep_size)
            && self.axes.iter().any(|axis| axis.scale.is_some_and(|scale| scale != 1.0) && axis.size != Some(1))
    }
}

fn resized(node: NodeProto, mode: &str, site: &mut Site) -> Replaced {
    let Some(geometry) = Geometry::of(&node, site) else { return Err(rank_needed()) };
    if geometry.may_only_shift() {
        return Err(Reason::with_fix(
            "computes other elements than onnxruntime for a scale that does not change the size",
            "give `sizes` instead of `scales`",
        ));
    }
    if mode == "nearest" { nearest::nearest(node, &geometry, site) } else { Ok(vec![node]) }
}

/// The engine interpolates images only: four dimensions, of which the last two are resized.
fn check_rank(node: &NodeProto, mode: &str, site: &Site) -> Result<(), Reason> {
    match (mode, site.info(node, 0).rank) {
        (_, Some(4)) | ("nearest", Some(..4) | None) => Ok(()),
        ("nearest", Some(_)) => Err(Reason::unsupported("resizes only tensors of at most four dimensions")),
        (_, Some(_)) => Err(Reason::unsupported("interpolates only tensors of four dimensions")),
        (_, None) => Err(rank_needed()),
    }
}

/// Checks that a size times its scale is a whole number.
fn check_scales(node: &NodeProto, index: usize, site: &Site) -> Result<(), Reason> {
    let scales = site.info(node, index).constant;
    let input = site.info(node, 0);
    let is_whole = |axis: usize, scale: f64| {
        scale.fract() == 0.0 || input.size(axis as i64).is_some_and(|size| (size as f64 * scale).fract() == 0.0)
    };
    let all = scales.is_some_and(|scales| scales.iter().enumerate().all(|(axis, &scale)| is_whole(axis, scale)));
    if all {
        return Ok(());
    }
    Err(Reason::with_fix("derives the scale of `align_corners` from rounded sizes", "give `sizes` instead of `scales`"))
}
