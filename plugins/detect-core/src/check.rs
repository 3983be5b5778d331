//! Checks that the model's outputs have the shapes and numbers that the layout decodes. At deployment the shapes are the
//! declared ones, in which `None` is a dynamic size; for a request all sizes are known.

use plimsoll_sdk::model::{self, Declared, shape_text};
use postprocess_core::outputs::FLOATS;

use crate::layout::{Kind, Role, Size};
use crate::settings::Settings;

/// The sizes of the outputs; `None` if they are dynamic.
#[derive(Clone, Copy, Default)]
pub struct Sizes {
    /// The number of boxes.
    pub boxes: Option<u32>,
    /// The number of classes.
    pub classes: Option<u32>,
    /// The number of rows and columns of a grid.
    pub grid: [Option<u32>; 2],
}

/// Checks the declared outputs of the model, and that it has the classes that are kept.
///
/// # Errors
/// If the plugin cannot decode them. The message says how to fix it.
pub fn declared(outputs: &[Declared], settings: &Settings, keep: Option<&[usize]>) -> Result<(), String> {
    let mut shapes = Vec::with_capacity(4);
    for (role, name) in settings.outputs() {
        let output = declared_output(outputs, role, name)?;
        // An output without a declared shape is treated as one of the right rank with dynamic sizes.
        shapes.push(output.shape.clone().unwrap_or_else(|| vec![None; role.shape.len()]));
    }
    kept(settings, sizes(settings, &shapes)?, keep)
}

/// The declared output with this name. Checks its element type.
fn declared_output<'a>(outputs: &'a [Declared], role: &Role, name: &str) -> Result<&'a Declared, String> {
    let key = role.key;
    let found = model::find(outputs, name).ok_or_else(|| {
        let problem = match name {
            "" => "the model does not have exactly one output".to_owned(),
            _ => format!("the model has no output `{name}`"),
        };
        format!(
            "{problem}; its outputs are: {}. Set the configuration key `{key}` to the right output, set `layout` to the \
             form of this model, or use another postprocess plugin",
            model::names(outputs)
        )
    })?;
    match found.element_type.as_deref() {
        None => Ok(found),
        Some(ty) if FLOATS.contains(&ty) => Ok(found),
        Some("i32" | "i64") if role.integers => Ok(found),
        Some(other) => Err(format!(
            "output `{}` has elements of type {other}, but `{key}` must have the type {}: set the configuration key \
             `{key}` to the right output, or export the model with this output as fp32",
            found.name,
            FLOATS.join(", ")
        )),
    }
}

/// Checks the shapes of the outputs, in the order of the layout, and returns the sizes.
///
/// # Errors
/// If they are not those of the layout, or do not suit the labels or the background class. The message names the outputs.
pub fn sizes(settings: &Settings, shapes: &[Vec<Option<u32>>]) -> Result<Sizes, String> {
    let mut sizes = Sizes::default();
    let are_right = settings.outputs().zip(shapes).all(|((role, _), shape)| sizes.match_shape(settings, role, shape));
    if !are_right || sizes.classes == Some(0) {
        let found = settings.outputs().zip(shapes).map(|((role, name), shape)| {
            let name = if name.is_empty() { "the only output" } else { name };
            format!("`{}` ({name}) has the shape {}", role.key, shape_text(shape))
        });
        return Err(format!(
            "the layout `{}` expects {}, but {}: set the configuration key `layout` to the form of this model, set the \
             keys of the outputs to the right names, or use another postprocess plugin",
            settings.layout.name,
            settings.layout.shapes(),
            found.collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(classes) = sizes.classes {
        check_classes(settings, sizes.boxes, classes as usize)?;
    }
    Ok(sizes)
}

impl Sizes {
    /// Compares a shape with that of the layout. Remembers the sizes, which must be the same for all outputs.
    fn match_shape(&mut self, settings: &Settings, role: &Role, shape: &[Option<u32>]) -> bool {
        // A count may be a scalar, or have any number of dimensions of size 1.
        if role.key == "count" {
            return shape.iter().all(|size| size.is_none_or(|size| size == 1));
        }
        // Models with suppression inside, such as torchvision's, often return the boxes of one image without a batch axis.
        let has_batch_axis = settings.layout.kind != Kind::Nms || shape.len() == role.shape.len();
        let wanted = if has_batch_axis { role.shape } else { &role.shape[1..] };
        shape.len() == wanted.len() && wanted.iter().zip(shape).all(|(wanted, found)| self.match_size(*wanted, *found))
    }

    fn match_size(&mut self, wanted: Size, found: Option<u32>) -> bool {
        let Some(found) = found else { return true };
        match wanted {
            Size::Fixed(number) => found == number,
            Size::Boxes => *self.boxes.get_or_insert(found) == found,
            Size::Rows => *self.grid[0].get_or_insert(found) == found,
            Size::Columns => *self.grid[1].get_or_insert(found) == found,
            Size::Classes(more) => {
                found.checked_sub(more).is_some_and(|classes| *self.classes.get_or_insert(classes) == classes)
            }
        }
    }
}

fn check_classes(settings: &Settings, boxes: Option<u32>, classes: usize) -> Result<(), String> {
    if let Some(labels) = settings.labels.as_ref().map(Vec::len).filter(|&labels| labels != classes) {
        return Err(format!(
            "the outputs have {classes} classes, but the configured file of labels has {labels} labels: use the labels of \
             this model, including the label of the background class if the layout is `decoded`, or set the key `layout` \
             to the form of this model"
        ));
    }
    // Otherwise a model with the axes exchanged would be decoded: 84 boxes with 8,396 classes.
    let single = matches!(settings.layout.kind, Kind::Yolov5 | Kind::Yolov7 | Kind::Yolov8 | Kind::Yolox);
    if single && settings.labels.is_none() && boxes.is_some_and(|boxes| boxes > 0 && (boxes as usize) < classes) {
        return Err(format!(
            "the output has {classes} classes and fewer boxes than classes, so its axes seem to be exchanged (`yolov5` is \
             [1, N, 5 + C], `yolov8` is [1, 4 + C, N]): set the key `layout`; if the layout is right, set `labels`"
        ));
    }
    match settings.rule.background {
        Some(background) if background >= classes => Err(format!(
            "configuration key `background_class`: the outputs have {classes} classes, so there is no class \
             {background}: set the key to the index of the background class, or to -1 if there is none"
        )),
        // Otherwise every reply would be without detections.
        Some(0) if classes == 1 => Err(
            "configuration key `background_class`: the outputs have a single class, so it cannot be the background (the \
             default is 0): set the key to -1"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Checks that boxes of the kept classes can be reported.
///
/// # Errors
/// If the model does not have such a class, or it is the background. The message names the class.
pub fn kept(settings: &Settings, sizes: Sizes, keep: Option<&[usize]>) -> Result<(), String> {
    let keep = keep.unwrap_or_default();
    if let Some(classes) = sizes.classes
        && let Some(class) = keep.iter().find(|class| **class >= classes as usize)
    {
        return Err(format!(
            "configuration key `keep`: the outputs have {classes} classes, so there is no class {class}: set the key to \
             classes of this model"
        ));
    }
    match settings.rule.background.filter(|background| keep.contains(background)) {
        None => Ok(()),
        Some(background) => Err(format!(
            "configuration key `keep`: class {background} is `background_class`, which is never reported: remove it from the \
             key, or set `background_class`"
        )),
    }
}

/// Checks that all numbers of an output are finite. NaN or infinity means that the model or its preprocessing is wrong,
/// so the other boxes are not trusted either.
///
/// # Errors
/// If a number is NaN or infinite. The message names the output and the index.
pub fn finite(name: &str, numbers: &[f32]) -> Result<(), String> {
    // Without an early exit the compiler uses SIMD instructions.
    let are_finite = numbers.iter().fold(true, |are_finite, number| are_finite & number.is_finite());
    if are_finite {
        return Ok(());
    }
    let index = numbers.iter().position(|number| !number.is_finite()).unwrap_or_default();
    Err(format!("output `{name}`: element {index} is not a finite number ({})", numbers[index]))
}
