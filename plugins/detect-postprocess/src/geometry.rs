//! Converts coordinates of the model's input to pixels of the caller's image, from the context of `image-preprocess`.

use serde::Deserialize;

/// The context. A pixel of the original image is `(input - offset) / scale`. The key `resize` is not needed here.
#[derive(Deserialize)]
pub struct Geometry {
    /// Width of the original image in pixels.
    pub width: u32,
    /// Height of the original image in pixels.
    pub height: u32,
    input_width: f64,
    input_height: f64,
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
        let geometry: Geometry = serde_json::from_slice(context)
            .map_err(|error| format!("the context does not have the format of `image-preprocess`: {error}"))?;
        if geometry.scale_x > 0.0 && geometry.scale_y > 0.0 {
            Ok(geometry)
        } else {
            Err("the context does not have the format of `image-preprocess`: its scales are not positive".into())
        }
    }

    /// Converts a box from fractions of the model's input to pixels of the original image, clamped to the image.
    /// Returns `None` if the box lies entirely outside of it, for example on the border that `letterbox` adds.
    pub fn to_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> Option<[f32; 4]> {
        let x = |fraction: f32| {
            let pixel = (f64::from(fraction) * self.input_width - self.offset_x) / self.scale_x;
            pixel.clamp(0.0, f64::from(self.width)) as f32
        };
        let y = |fraction: f32| {
            let pixel = (f64::from(fraction) * self.input_height - self.offset_y) / self.scale_y;
            pixel.clamp(0.0, f64::from(self.height)) as f32
        };
        let corners = [x(x1), y(y1), x(x2), y(y2)];
        (corners[0] < corners[2] && corners[1] < corners[3]).then_some(corners)
    }
}
