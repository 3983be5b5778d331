//! The grids of `yolox` and `retinanet`: the places in the model's input to which their boxes are relative.

use postprocess_core::geometry::Geometry;

use crate::settings::Settings;

/// The greatest logarithm by which a box is larger than its anchor, as in torchvision.
const MAX_LOGARITHM: f32 = 4.135_166_6;

/// Column, row and stride of the cells of all grids of YOLOX. A grid has as many cells as fit into the input.
///
/// # Errors
/// If the model has another number of boxes. The message names the output.
pub fn cells(settings: &Settings, geometry: &Geometry, name: &str, boxes: usize) -> Result<Vec<[f32; 3]>, String> {
    let (width, height) = (geometry.input_width as usize, geometry.input_height as usize);
    let grids = settings.grids.strides.iter().map(|stride| *stride as usize);
    let sizes = grids.map(|stride| (stride, width / stride, height / stride));
    let total = sizes.clone().map(|(_, columns, rows)| columns * rows).sum();
    check_number(settings, geometry, name, boxes, total)?;
    let cell = |stride, columns| move |index| [index % columns, index / columns, stride].map(|number| number as f32);
    Ok(sizes.flat_map(|(stride, columns, rows)| (0..columns * rows).map(cell(stride, columns))).collect())
}

/// The centre, width and height of all anchors of RetinaNet, as `AnchorGenerator` of torchvision makes them: a grid has
/// a cell for each started stride; the distance of its cells is the whole number of pixels that is left for each; the
/// corners of an anchor around 0 are rounded. The sizes of a cell change faster than its ratios.
///
/// # Errors
/// If the model has another number of boxes. The message names the output.
pub fn anchors(settings: &Settings, geometry: &Geometry, name: &str, boxes: usize) -> Result<Vec<[f32; 4]>, String> {
    let (width, height) = (geometry.input_width as usize, geometry.input_height as usize);
    let sizes_of_grid = settings.grids.anchor_sizes.len() / settings.grids.strides.len();
    let grids = settings
        .grids
        .strides
        .iter()
        .map(|stride| *stride as usize)
        .zip(settings.grids.anchor_sizes.chunks(sizes_of_grid));
    let grids = grids.map(|(stride, sizes)| (width.div_ceil(stride), height.div_ceil(stride), sizes));
    let of_cell = sizes_of_grid * settings.grids.anchor_ratios.len();
    check_number(
        settings,
        geometry,
        name,
        boxes,
        grids.clone().map(|(columns, rows, _)| columns * rows * of_cell).sum(),
    )?;
    let mut anchors = Vec::with_capacity(boxes);
    for (columns, rows, sizes) in grids {
        // A ratio is height by width. Half to even, as in torch.
        let shapes: Vec<_> = settings
            .grids
            .anchor_ratios
            .iter()
            .flat_map(|ratio| sizes.iter().map(move |size| [1.0 / ratio.sqrt() * size, ratio.sqrt() * size]))
            .map(|sides| sides.map(|side| 2.0 * (side / 2.0).round_ties_even()))
            .collect();
        for cell in 0..columns * rows {
            let x = (cell % columns * (width / columns)) as f32;
            let y = (cell / columns * (height / rows)) as f32;
            anchors.extend(shapes.iter().map(|[width, height]| [x, y, *width, *height]));
        }
    }
    Ok(anchors)
}

/// A box (centre, width and height) from an anchor and the differences that the model returns.
pub fn moved([x, y, width, height]: [f32; 4], [right, down, wider, higher]: [f32; 4]) -> [f32; 4] {
    let grown = |side: f32, logarithm: f32| side * logarithm.min(MAX_LOGARITHM).exp();
    [x + right * width, y + down * height, grown(width, wider), grown(height, higher)]
}

fn check_number(
    settings: &Settings,
    geometry: &Geometry,
    name: &str,
    boxes: usize,
    total: usize,
) -> Result<(), String> {
    if total == boxes {
        return Ok(());
    }
    Err(format!(
        "output `{name}` has {boxes} boxes, but the grids of an input of {} x {} pixels with the strides {:?} have {total}: \
         set the configuration key `strides` (for `retinanet` also `anchor_sizes` and `anchor_ratios`), or the size of the \
         input in the preprocess stage",
        geometry.input_width, geometry.input_height, settings.grids.strides
    ))
}
