//! From the pixels of the model's input to those of the caller's image, from the context of `image-preprocess`.

use serde::Deserialize;

/// The context. The key `resize` is not needed here.
#[derive(Deserialize)]
pub struct Geometry {
    /// Width of the original image in pixels.
    pub width: u32,
    /// Height of the original image in pixels.
    pub height: u32,
    /// Width of the model's input in pixels.
    pub input_width: f64,
    /// Height of the model's input in pixels.
    pub input_height: f64,
    scale_x: f64,
    scale_y: f64,
    offset_x: f64,
    offset_y: f64,
}

impl Geometry {
    /// Reads the context.
    ///
    /// # Errors
    /// If the context has another format than that of `image-preprocess`.
    pub fn parse(context: &[u8]) -> Result<Geometry, String> {
        let wrong = "the context does not have the format of `image-preprocess`";
        let geometry: Geometry = serde_json::from_slice(context).map_err(|error| format!("{wrong}: {error}"))?;
        let positive = [geometry.scale_x, geometry.scale_y, geometry.input_width, geometry.input_height];
        if positive.iter().all(|number| *number > 0.0) && geometry.width > 0 && geometry.height > 0 {
            Ok(geometry)
        } else {
            Err(format!("{wrong}: a size or a scale is not positive"))
        }
    }

    /// The x coordinate in the original image of one in the model's input. It may be outside of the image.
    pub fn x(&self, input: f64) -> f64 {
        (input - self.offset_x) / self.scale_x
    }

    /// The y coordinate in the original image of one in the model's input. It may be outside of the image.
    pub fn y(&self, input: f64) -> f64 {
        (input - self.offset_y) / self.scale_y
    }

    /// The x coordinate in the model's input of one in the original image.
    pub fn input_x(&self, original: f64) -> f64 {
        original * self.scale_x + self.offset_x
    }

    /// The y coordinate in the model's input of one in the original image.
    pub fn input_y(&self, original: f64) -> f64 {
        original * self.scale_y + self.offset_y
    }
}
