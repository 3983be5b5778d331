//! What the pipeline's model declares about its image input. It is the default of the keys `input`, `width`, `height`,
//! `layout` and `dtype`, so that a configuration does not repeat what the model fixes.

use image_core::{Dtype, Layout};
use plimsoll_sdk::model::{self, Declared, names};

/// The declared facts. A fact that the model does not fix is `None`.
#[derive(Clone, Default)]
pub(crate) struct ImageInput {
    /// The name of the input.
    pub(crate) name: Option<String>,
    /// Where the axis of the channels is.
    pub(crate) layout: Option<Layout>,
    /// The width in pixels.
    pub(crate) width: Option<u32>,
    /// The height in pixels.
    pub(crate) height: Option<u32>,
    /// The element type.
    pub(crate) dtype: Option<Dtype>,
}

/// Reads what the model declares about the input `name`, or about its only input. `layout` is the configured layout, and
/// `channels` the number of channels of the image.
///
/// # Errors
/// If no name is configured and the model has several inputs, none of which is called `image`.
pub(crate) fn image_input(name: Option<&str>, layout: Option<Layout>, channels: usize) -> Result<ImageInput, String> {
    match model::inputs()? {
        Some(inputs) => of(&inputs, name, layout, channels),
        None => Ok(ImageInput::default()),
    }
}

fn of(inputs: &[Declared], name: Option<&str>, layout: Option<Layout>, channels: usize) -> Result<ImageInput, String> {
    let input = match (name, inputs) {
        // The host compares the tensor with the model and names a wrong input.
        (Some(name), _) => inputs.iter().find(|input| input.name == name),
        (None, [only]) => Some(only),
        (None, _) => Some(inputs.iter().find(|input| input.name == "image").ok_or_else(|| {
            format!(
                "configuration key `input` is missing, and the model has several inputs; set it to the one that takes \
                 the image: {}",
                names(inputs)
            )
        })?),
    };
    let Some(input) = input else { return Ok(ImageInput::default()) };
    let dtype = match input.element_type.as_deref() {
        Some("fp32") => Some(Dtype::F32),
        Some("fp16") => Some(Dtype::F16),
        Some("bf16") => Some(Dtype::Bf16),
        Some("u8") => Some(Dtype::U8),
        _ => None,
    };
    let mut facts = ImageInput { name: Some(input.name.clone()), layout, dtype, ..ImageInput::default() };
    if let Some([_, first, second, third]) = input.shape.as_deref() {
        let is_channels = |size: &Option<u32>| size.is_some_and(|size| size as usize == channels);
        let layout = match layout {
            Some(layout) => Some(layout),
            None if is_channels(first) && !is_channels(third) => Some(Layout::Nchw),
            None if is_channels(third) && !is_channels(first) => Some(Layout::Nhwc),
            None => None,
        };
        facts.layout = layout;
        (facts.height, facts.width) = match layout {
            Some(Layout::Nchw) => (*second, *third),
            Some(Layout::Nhwc) => (*first, *second),
            None => (None, None),
        };
    }
    Ok(facts)
}
