//! `Resize` and `Upsample`.

use rten_onnx::onnx::NodeProto;

use super::arithmetic::rank_needed;
use super::{Replaced, keep};
use crate::node::{Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;

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
    keep(node, site)
}

/// `Upsample`, which operator set 10 replaced by `Resize`.
pub(super) fn upsample(node: NodeProto, site: &mut Site) -> Replaced {
    let mode = node.text_or("mode", "nearest").to_owned();
    check_rank(&node, &mode, site)?;
    keep(node, site)
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
