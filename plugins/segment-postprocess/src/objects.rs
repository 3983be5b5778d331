//! Reads the outputs of models that return boxes with coefficients, and prototypes of masks (YOLO-seg).

use plimsoll_sdk::NamedTensor;
use plimsoll_sdk::model::{Declared, shape_text};
use postprocess_core::box_output::{BoxOutput, Form};
use postprocess_core::boxes::{self, Unit};
use postprocess_core::geometry::Geometry;
use postprocess_core::outputs;
use postprocess_core::select::{Rule, select};

use crate::prototypes::{Mask, Prototypes};
use crate::settings::{Format, Layout, Settings};

/// A PNG with a palette has 256 indices, the last of which is "no object".
const MAX_CLASSES_OF_PNG: usize = 255;

/// The configuration of these layouts.
pub struct Objects {
    /// The name of the output with the prototypes.
    pub prototypes: String,
    /// The unit of coordinates.
    pub unit: Unit,
    /// How boxes are selected.
    pub rule: Rule,
}

/// An object.
pub struct Object {
    /// The index of its class.
    pub class: usize,
    /// Its score.
    pub score: f32,
    /// x1, y1, x2, y2 in pixels of the reply.
    pub r#box: [f32; 4],
    /// Its pixels.
    pub mask: Mask,
}

/// The numbers of the outputs; `None` if they are dynamic.
struct Sizes {
    classes: Option<usize>,
    boxes: Option<u32>,
    masks: Option<u32>,
    map: [Option<u32>; 2],
}

/// Checks the declared outputs.
///
/// # Errors
/// If the plugin cannot read them. The message says how to fix it.
pub fn check(settings: &Settings, objects: &Objects, declared: &[Declared]) -> Result<(), String> {
    let rows = outputs::declared(declared, "output", &settings.output, outputs::FLOATS)?;
    let maps = outputs::declared(declared, "prototypes", &objects.prototypes, outputs::FLOATS)?;
    let any = |shape: &Option<Vec<Option<u32>>>, rank: usize| shape.clone().unwrap_or_else(|| vec![None; rank]);
    sizes(settings, objects, &any(&rows.shape, 3), &any(&maps.shape, 4)).map(|_| ())
}

/// The objects in the outputs, best first, and the width and the height of the reply.
///
/// # Errors
/// If an output is missing, has another form, or a number that cannot be right. The message names it.
pub fn read(
    settings: &Settings,
    objects: &Objects,
    tensors: &[NamedTensor],
    geometry: &Geometry,
) -> Result<(Vec<Object>, [u32; 2]), String> {
    let (name, rows) = outputs::find(tensors, &settings.output)?;
    let (maps_name, maps) = outputs::find(tensors, &objects.prototypes)?;
    let sizes = sizes(settings, objects, &outputs::shape(rows), &outputs::shape(maps))?;
    let size = |size: Option<u32>| size.unwrap_or(0) as usize;
    let (numbers, maps) = (outputs::numbers(name, rows)?, outputs::numbers(maps_name, maps)?);
    let form = form(settings, sizes.classes.unwrap_or(0));
    let boxes = BoxOutput { name, numbers: &numbers, count: size(sizes.boxes), more: size(sizes.masks), form };
    let [rows, columns] = sizes.map.map(size);
    if !geometry.is_covered_by(rows, columns) {
        return Err(format!(
            "output `{maps_name}`: the prototypes have {rows} rows and {columns} columns, but the model's input of {} x {} pixels \
             has other proportions, so its axes seem to be exchanged: export the model with prototypes of shape [1, M, H, W]",
            geometry.input_width, geometry.input_height
        ));
    }
    let prototypes = Prototypes { name: maps_name, numbers: &maps, rows, columns };
    let labels = settings.labels();
    let found = boxes.candidates(geometry, objects.unit, objects.rule.score_threshold, labels)?;
    let of_input = match objects.unit {
        Unit::Pixels => [columns as f64 / geometry.input_width, rows as f64 / geometry.input_height],
        Unit::Fractions => [columns as f64, rows as f64],
    };
    let mut all = Vec::new();
    for found in select(&objects.rule, found) {
        // A box that lies outside of the image, for example on the border, is not reported.
        let Some(original) = boxes::to_original(geometry, found.r#box, objects.unit) else { continue };
        if settings.format == Format::Png && found.class >= MAX_CLASSES_OF_PNG {
            return Err(format!(
                "output `{name}`: a box has the class {}, but a PNG has at most {MAX_CLASSES_OF_PNG} classes: set the \
                 configuration key `format` to `rle`",
                found.class
            ));
        }
        let coefficients: Vec<f32> =
            (0..boxes.more).map(|more| boxes.number(form.first() + more, found.extra)).collect();
        let (mask, r#box) = if settings.is_original {
            (prototypes.original(&coefficients, original, geometry)?, original)
        } else {
            let [x1, y1, x2, y2] = found.r#box.map(f64::from);
            let [across, down] = of_input;
            let places = [x1 * across, y1 * down, x2 * across, y2 * down];
            let most = [columns, rows, columns, rows].map(|side| side as f64);
            let places = [0, 1, 2, 3].map(|side| places[side].clamp(0.0, most[side]) as f32);
            (prototypes.mask(&coefficients, places)?, places)
        };
        all.push(Object { class: found.class, score: found.score, r#box, mask });
    }
    let size = if settings.is_original { [geometry.width, geometry.height] } else { [columns as u32, rows as u32] };
    Ok((all, size))
}

fn form(settings: &Settings, classes: usize) -> Form {
    match settings.layout {
        Layout::EndToEnd => Form::Rows,
        _ => Form::Columns { classes },
    }
}

fn sizes(settings: &Settings, objects: &Objects, rows: &[Option<u32>], maps: &[Option<u32>]) -> Result<Sizes, String> {
    let can_be_one = |size: Option<u32>| size.is_none_or(|size| size == 1);
    let found = match (settings.layout, rows, maps) {
        (_, &[image, ..], &[other, ..]) if !(can_be_one(image) && can_be_one(other)) => None,
        (Layout::EndToEnd, &[_, boxes, channels], &[_, masks, ..]) => more(channels, 6, masks).and_then(|rest| {
            let is_right = rest.is_none_or(|rest| rest == 0);
            is_right.then_some((None, boxes, masks))
        }),
        (_, &[_, channels, boxes], &[_, masks, ..]) => more(channels, 4, masks)
            .filter(|rest| rest.is_none_or(|rest| rest > 0))
            .map(|classes| (classes.map(|classes| classes as usize), boxes, masks)),
        _ => None,
    };
    let is_map = maps.len() == 4 && !maps.contains(&Some(0));
    let Some((classes, boxes, masks)) = found.filter(|_| is_map) else {
        let expected = match settings.layout {
            Layout::EndToEnd => "[1, N, 6 + M]",
            _ => "[1, 4 + C + M, N]",
        };
        return Err(format!(
            "output `{}` has the shape {} and output `{}` the shape {}, but the plugin expects boxes of shape {expected} and \
             prototypes of shape [1, M, H, W]: set the configuration keys `output` and `prototypes` to the right names, or \
             `layout` to the form of this model",
            settings.output,
            shape_text(rows),
            objects.prototypes,
            shape_text(maps)
        ));
    };
    if let Some(classes) = classes {
        check_classes(settings, classes, boxes)?;
    }
    Ok(Sizes { classes, boxes, masks, map: [maps[2], maps[3]] })
}

/// The numbers of a box that remain beside `first` and the coefficients. `None` if there are fewer.
fn more(channels: Option<u32>, first: u32, masks: Option<u32>) -> Option<Option<u32>> {
    match (channels, masks) {
        (Some(channels), Some(masks)) => Some(Some(channels.checked_sub(first)?.checked_sub(masks)?)),
        _ => Some(None),
    }
}

fn check_classes(settings: &Settings, classes: usize, boxes: Option<u32>) -> Result<(), String> {
    let name = &settings.output;
    if let Some(labels) = settings.labels().filter(|labels| *labels != classes) {
        return Err(format!(
            "output `{name}` has {classes} classes, but the configured file of labels has {labels} labels: use the labels of \
             this model, or set `layout` to its form"
        ));
    }
    // Otherwise a model with the axes exchanged would be decoded.
    if settings.labels().is_none() && boxes.is_some_and(|boxes| boxes > 0 && (boxes as usize) < classes) {
        return Err(format!(
            "output `{name}` has {classes} classes and fewer boxes than classes, so its axes seem to be exchanged (`yolo` is \
             [1, 4 + C + M, N], `end-to-end` is [1, N, 6 + M]): set the key `layout`; if the layout is right, set `labels`"
        ));
    }
    if settings.format == Format::Png && classes > MAX_CLASSES_OF_PNG {
        return Err(format!(
            "output `{name}` has {classes} classes, but a PNG has at most {MAX_CLASSES_OF_PNG}: set the configuration key \
             `format` to `rle`"
        ));
    }
    Ok(())
}
