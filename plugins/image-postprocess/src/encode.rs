//! The image as a file.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use image_webp::WebPEncoder;

use crate::pixels::Image;
use crate::settings::Format;

/// The media type and the file.
///
/// # Errors
/// If the format does not have images of this size.
pub fn encode(format: Format, image: &Image) -> Result<(&'static str, Vec<u8>), String> {
    let Image { width, height, is_coloured, bytes } = image;
    let (width, height) = (*width, *height);
    let mut file = Vec::new();
    match format {
        Format::Png => png(&mut file, image).map_err(|error| failed("PNG", image, &error))?,
        Format::Jpeg(quality) => {
            let form = if *is_coloured { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
            let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
            encoder.encode(bytes, width, height, form).map_err(|error| failed("JPEG", image, &error))?;
        }
        Format::Webp => {
            let form = if *is_coloured { image_webp::ColorType::Rgb8 } else { image_webp::ColorType::L8 };
            let encoder = WebPEncoder::new(&mut file);
            encoder.encode(bytes, width, height, form).map_err(|error| failed("WebP", image, &error))?;
        }
    }
    let media_type = match format {
        Format::Png => "image/png",
        Format::Jpeg(_) => "image/jpeg",
        Format::Webp => "image/webp",
    };
    Ok((media_type, file))
}

fn png(file: &mut Vec<u8>, image: &Image) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(file, image.width, image.height);
    encoder.set_color(if image.is_coloured { png::ColorType::Rgb } else { png::ColorType::Grayscale });
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.bytes)?;
    writer.finish()
}

fn failed(format: &str, image: &Image, error: &dyn std::fmt::Display) -> String {
    format!(
        "the output of {} x {} pixels cannot be written as {format}: {error}; set the configuration key `format` to another one",
        image.width, image.height
    )
}
