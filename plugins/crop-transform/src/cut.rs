//! Cuts a box or a quadrilateral out of the picture. Only the part that is needed is read.

use image_core::warp::{Part, Point, Warp};
use image_core::{Context, Elements, Pack, Target, prepare_rows};
use plimsoll_sdk::{Bundle, Tensor, TensorType, regions};
use postprocess_core::geometry::Geometry;
use serde::Serialize;

use crate::found::Found;
use crate::settings::{Settings, Template};

/// Bytes of the picture that are read at once.
const STRIP: u32 = 256 << 10;
/// A warped crop is at most by this factor larger before it is resized.
const MAX_OVERSAMPLING: u32 = 16;

/// The picture, which the host holds.
pub(crate) struct Picture<'a> {
    tensor: &'a Tensor,
    width: u32,
    height: u32,
    /// Pixels of the picture for one of the caller's image.
    scale: [f64; 2],
}

/// The context of an item.
#[derive(Serialize)]
struct ItemContext {
    #[serde(flatten)]
    crop: Option<Context>,
    #[serde(flatten)]
    size: Option<Size>,
    item: Found,
}

#[derive(Serialize)]
struct Size {
    width: u32,
    height: u32,
}

impl<'a> Picture<'a> {
    /// Checks the tensor.
    ///
    /// # Errors
    /// If it is not a picture as `image-preprocess` hands it on.
    pub(crate) fn new(name: &str, tensor: &'a Tensor, geometry: &Geometry) -> Result<Picture<'a>, String> {
        match (tensor.ty(), tensor.dimensions().as_slice()) {
            (TensorType::U8, &[1, height, width, 3]) if height > 0 && width > 0 => {
                let scale =
                    [f64::from(width) / f64::from(geometry.width), f64::from(height) / f64::from(geometry.height)];
                Ok(Picture { tensor, width, height, scale })
            }
            (ty, shape) => Err(format!(
                "tensor `{name}` has elements of type {ty:?} and the shape {shape:?}, but a picture is U8 of shape [1, height, \
                 width, 3]: set the configuration key `picture` to the tensor that `image-preprocess` hands on with `picture = \
                 true`"
            )),
        }
    }

    /// Its width and height in pixels.
    pub(crate) fn size(&self) -> [u32; 2] {
        [self.width, self.height]
    }

    /// What a tile in pixels of the picture is in pixels of the caller's image.
    pub(crate) fn tile(&self, [x1, y1, x2, y2]: [u32; 4]) -> Found {
        let [across, down] = self.scale;
        let place = |pixel: u32, scale: f64| (f64::from(pixel) / scale) as f32;
        let r#box = [place(x1, across), place(y1, down), place(x2, across), place(y2, down)];
        Found { r#box, score: None, index: None, label: None, points: Vec::new() }
    }

    fn read(&self, [x, y]: [u32; 2], [width, height]: [u32; 2]) -> Result<Vec<u8>, String> {
        regions::read(self.tensor, &[0, y, x, 0], &[1, height, width, 3])
    }
}

/// The item of what was found. `None` if nothing of it can be cut out.
///
/// # Errors
/// If the picture cannot be read.
pub(crate) fn item(
    settings: &Settings,
    picture: &Picture<'_>,
    geometry: &Geometry,
    found: Found,
) -> Result<Option<Bundle>, String> {
    let made = if found.points.is_empty() {
        let (elements, crop) = cut_box(settings, picture, found.r#box)?;
        let crop = Context { width: geometry.width, height: geometry.height, ..crop };
        Some((elements, Some(crop), None))
    } else {
        let size = Size { width: geometry.width, height: geometry.height };
        cut_points(settings, picture, &found.points)?.map(|elements| (elements, None, Some(size)))
    };
    let Some((elements, crop, size)) = made else { return Ok(None) };
    let context = serde_json::to_vec(&ItemContext { crop, size, item: found })
        .map_err(|error| format!("the context cannot be serialised: {error}"))?;
    Ok(Some(Bundle { tensors: vec![(settings.form.input.clone(), settings.form.tensor(&elements))], context }))
}

/// The whole pixels of one direction that are cut out: the first one, and their number. At least one of them is in the picture,
/// because the centre is.
fn pixels(first: f64, last: f64, side: u32) -> (i64, u32) {
    let start = ((first + 0.5).floor() as i64).min(i64::from(side) - 1);
    let end = (last + 0.5).floor() as i64;
    (start, u32::try_from(end - start).unwrap_or(0).max(1))
}

/// The pixels of the picture in a range that may reach out of it: the first one, the number of pixels, and the number of pixels
/// before them that are outside.
fn visible(start: i64, count: u32, side: u32) -> (u32, u32, u32) {
    let side = i64::from(side);
    let (first, last) = (start.clamp(0, side), (start + i64::from(count)).clamp(0, side));
    (first as u32, (last - first) as u32, (first - start).clamp(0, i64::from(count)) as u32)
}

/// The value of pixels outside of the picture. The crop is inverted afterwards, but `pad` is the value after that, as of the
/// border of `letterbox`.
fn outside(pack: &Pack) -> u8 {
    if pack.invert { 255 - pack.pad } else { pack.pad }
}

/// Cuts an upright box, given in pixels of the caller's image.
fn cut_box(
    settings: &Settings,
    picture: &Picture<'_>,
    [x1, y1, x2, y2]: [f32; 4],
) -> Result<(Elements, Context), String> {
    let [scale_x, scale_y] = picture.scale;
    let (x1, x2) = (f64::from(x1) * scale_x, f64::from(x2) * scale_x);
    let (y1, y2) = (f64::from(y1) * scale_y, f64::from(y2) * scale_y);
    let larger = 1.0 + 2.0 * settings.margin;
    let (mut width, mut height) = ((x2 - x1) * larger, (y2 - y1) * larger);
    if settings.square {
        (width, height) = (width.max(height), width.max(height));
    }
    let ends = |first: f64, last: f64, size: f64, side: u32| {
        pixels((first + last - size) / 2.0, (first + last + size) / 2.0, side)
    };
    let ((left, across), (top, down)) = (ends(x1, x2, width, picture.width), ends(y1, y2, height, picture.height));
    let (x, columns, before) = visible(left, across, picture.width);
    let (y, rows, above) = visible(top, down, picture.height);

    // Rows outside of the picture cost as much as those inside, so a crop that is mostly outside could take all of the time.
    let most = 64 * (u64::from(picture.width) * u64::from(picture.height)).max(1 << 20);
    if u64::from(across) * u64::from(down) > most {
        return Err(format!(
            "a crop of {across} x {down} pixels is far larger than the picture of {} x {}: set `square = false`, or a smaller \
             `margin`",
            picture.width, picture.height
        ));
    }
    let pad = outside(&settings.image.pack);
    let strip_rows = (STRIP / (3 * columns).max(1)).max(1);
    let row_bytes = 3 * columns as usize;
    let (mut strip, mut row) = (Vec::new(), 0);
    let next = |pixels: &mut [u8]| -> Result<(), String> {
        let inside = u32::checked_sub(row, above).filter(|inside| *inside < rows && columns > 0);
        row += 1;
        let Some(inside) = inside else {
            pixels.fill(pad);
            return Ok(());
        };
        let in_strip = inside % strip_rows;
        if in_strip == 0 {
            strip = picture.read([x, y + inside], [columns, strip_rows.min(rows - inside)])?;
        }
        let (head, rest) = pixels.split_at_mut(3 * before as usize);
        let (middle, tail) = rest.split_at_mut(row_bytes);
        head.fill(pad);
        tail.fill(pad);
        middle.copy_from_slice(&strip[in_strip as usize * row_bytes..][..row_bytes]);
        Ok(())
    };
    let (elements, crop) = prepare_rows((across, down), &settings.image, next)?;
    let context = Context {
        scale_x: crop.scale_x * scale_x,
        scale_y: crop.scale_y * scale_y,
        offset_x: crop.offset_x - left as f64 * crop.scale_x,
        offset_y: crop.offset_y - top as f64 * crop.scale_y,
        ..crop
    };
    Ok((elements, context))
}

/// Cuts what points describe, given in pixels of the caller's image. `None` if they describe nothing, or nothing of it is in the
/// picture.
fn cut_points(settings: &Settings, picture: &Picture<'_>, points: &[[f32; 2]]) -> Result<Option<Elements>, String> {
    let [scale_x, scale_y] = picture.scale;
    let points: Vec<Point> = points.iter().map(|[x, y]| [f64::from(*x) * scale_x, f64::from(*y) * scale_y]).collect();
    let Template { is_perspective, points: template } = &settings.template;
    let warp = match (is_perspective, template.first_chunk(), points.first_chunk()) {
        (true, Some(crop), Some(points)) => Warp::perspective(*crop, *points),
        _ => Warp::similarity(template, &points),
    };
    let Target { width, height, .. } = settings.image.target;
    let Some((warp, corners)) = warp.and_then(|warp| Some((warp, warp.corners(width, height)?))) else {
        return Ok(None);
    };
    let ends = |axis: usize, side: u32| {
        let places = corners.iter().map(|corner| corner[axis]);
        let first = places.clone().fold(f64::INFINITY, f64::min);
        let last = places.fold(f64::NEG_INFINITY, f64::max);
        let side = f64::from(side);
        // Pixels are interpolated with those beside them.
        let (start, end) = ((first.floor() - 1.0).clamp(0.0, side) as u32, (last.ceil() + 1.0).clamp(0.0, side) as u32);
        (start, if first < side && last > 0.0 { end - start } else { 0 })
    };
    let ((x, columns), (y, rows)) = (ends(0, picture.width), ends(1, picture.height));
    if columns == 0 || rows == 0 {
        return Ok(None);
    }
    let rgb = picture.read([x, y], [columns, rows])?;
    let part = Part { start: [x, y], size: [columns, rows], rgb: &rgb, pad: outside(&settings.image.pack) };
    let larger = Warp::oversampling(corners, (width, height), MAX_OVERSAMPLING);
    let warp = warp.enlarged(larger);
    let (mut row, mut is_seen) = (0, false);
    let next = |pixels: &mut [u8]| -> Result<(), String> {
        is_seen |= warp.fill(row, &part, pixels);
        row += 1;
        Ok(())
    };
    let (elements, _) = prepare_rows((width * larger[0], height * larger[1]), &settings.image, next)?;
    // The corners may surround the picture, or a corner of it, and the crop beside it.
    Ok(is_seen.then_some(elements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_the_picture_becomes_pad() {
        let pack = |invert| Pack {
            width: 4,
            height: 4,
            order: image_core::Channels::Rgb,
            layout: image_core::Layout::Nhwc,
            invert,
            pad: 9,
            mean: [0.0; 3],
            scale: [1.0; 3],
            dtype: image_core::Dtype::U8,
        };
        assert_eq!(outside(&pack(false)), 9);
        // Inverted with the crop, it is 9.
        assert_eq!(outside(&pack(true)), 255 - 9);
    }
}
