//! The way back from the network's input to the caller's image: the context of `image-preprocess`.

use serde::Deserialize;

/// The keys of the context; an original pixel is `(input - offset) / scale`. `resize` is not needed here.
#[derive(Deserialize)]
pub struct Geometry {
    /// Of the original, in pixels.
    pub width: u32,
    /// Of the original, in pixels.
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
    /// A sentence, when it is of another preprocessing stage.
    pub fn parse(context: &[u8]) -> Result<Geometry, String> {
        let geometry: Geometry = serde_json::from_slice(context)
            .map_err(|error| format!("the context is not one of `image-preprocess`: {error}"))?;
        if geometry.scale_x > 0.0 && geometry.scale_y > 0.0 {
            Ok(geometry)
        } else {
            Err("the context is not one of `image-preprocess`: its scales are not positive".into())
        }
    }

    /// A box in fractions of the input, in pixels of the original and clamped to it; none where nothing of
    /// it lies on the original (such as a box on a letterbox's border).
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
