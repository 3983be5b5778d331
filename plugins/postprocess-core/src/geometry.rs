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

    /// True if a map of so many rows and columns covers the model's input: it has the same proportions, except for one place
    /// more or less, because models round the sizes of their maps. Otherwise its axes may be exchanged.
    pub fn is_covered_by(&self, rows: usize, columns: usize) -> bool {
        let difference = rows as f64 * self.input_width - columns as f64 * self.input_height;
        difference.abs() <= self.input_width.max(self.input_height)
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

/// For tests: the geometry of an image that has the size of the model's input.
#[cfg(test)]
pub(crate) fn unscaled(width: u32, height: u32) -> Geometry {
    let (input_width, input_height) = (f64::from(width), f64::from(height));
    Geometry { width, height, input_width, input_height, scale_x: 1.0, scale_y: 1.0, offset_x: 0.0, offset_y: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_with_the_classes_in_place_of_the_columns_does_not_cover_the_input() {
        // Rows, then columns, of outputs whose last axis has the classes.
        for (width, height, rows, columns) in
            [(256, 144, 256, 1), (512, 512, 128, 21), (224, 224, 224, 2), (192, 256, 48, 17)]
        {
            assert!(!unscaled(width, height).is_covered_by(rows, columns), "{rows} x {columns} of {width} x {height}");
        }
        assert!(!unscaled(512, 512).is_covered_by(21, 512));
    }

    #[test]
    fn a_map_of_a_model_covers_the_input_although_its_size_is_rounded() {
        for (width, height, rows, columns) in [
            (512, 512, 128, 128),
            (192, 256, 64, 48),
            (256, 144, 144, 256),
            // Rounded up and down.
            (520, 390, 49, 65),
            (500, 375, 46, 62),
            // Corners are aligned.
            (513, 513, 129, 129),
            (1025, 513, 65, 129),
        ] {
            assert!(unscaled(width, height).is_covered_by(rows, columns), "{rows} x {columns} of {width} x {height}");
        }
    }
}
