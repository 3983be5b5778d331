//! JPEG: sequential images with one scan are streamed; the coefficients of all other images are kept
//! until the last scan.
//!
//! Pixels are right if libjpeg-turbo, and so Pillow, gives the same. Images of an unsupported kind are refused with the
//! reason. Broken images are refused, with one exception: if an image has restart markers and data are missing or
//! changed between two of them, the rest of the image is decoded, as by libjpeg.

mod arithmetic;
mod arithmetic_scan;
mod band;
mod bits;
mod bounds;
mod clamping;
mod coefficients;
mod colours;
mod fault;
mod headers;
mod history;
mod huffman;
mod idct;
mod idct_small;
mod pixels;
mod plane;
mod probabilities;
mod samples;
mod scan;
mod segments;
mod sink;
mod standard;
mod stored;
mod stored_component;
mod tables;
mod tile;
mod upsample;
mod ycbcr;

use fault::Fault;
use headers::{Headers, Scan};
use plane::planes;
pub(crate) use samples::samples;
use sink::Sink;

use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::Output;
use crate::{Settings, orientation};

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let limits = &settings.limits;
    let mut headers = headers::read(body)?;
    let (width, height) = (headers.width as u32, headers.height as u32);
    limits.check_size("JPEG", width, height)?;
    let exif = headers.exif.take();
    let mut output = settings.output((width, height), orientation(exif.as_deref(), headers.xmp));
    drop(exif);

    let (scan, data) = first_scan(body, &mut headers)?;
    if is_streamed(&headers, &scan) {
        let bytes = sink::estimated_bytes(&headers, settings, &output);
        limits.check_bytes("a JPEG image", width, height, bytes)?;
        let planes = planes::<L>(&headers, settings, &output);
        let sink = Sink::new(&headers, settings, &mut output, &planes);
        let rest = scan::decode(&body[data..], &headers, &scan, planes, sink)?;
        headers.end(rest)?;
    } else {
        let bytes = stored::estimated_bytes(&headers, settings, &output);
        limits.check_bytes(kind(&headers), width, height, bytes)?;
        let planes = planes::<L>(&headers, settings, &output);
        let sink = Sink::new(&headers, settings, &mut output, &planes);
        stored::decode(body, &mut headers, planes, sink)?;
    }
    Ok(output)
}

/// Reads the header of the first scan. Returns it with the offset of its data.
fn first_scan(body: &[u8], headers: &mut Headers) -> Result<(Scan, usize), Fault> {
    let mut data = headers.first_scan;
    let (_, segment) = segments::next_segment(body, &mut data).ok_or(Fault::Truncated)?;
    Ok((headers.scan(segment)?, data))
}

/// True if the image is decoded while its only scan is read, without keeping coefficients.
fn is_streamed(headers: &Headers, scan: &Scan) -> bool {
    !headers.progressive && !headers.arithmetic && scan.components.len() == headers.components.len()
}

/// What an image is called whose coefficients are kept.
fn kind(headers: &Headers) -> &'static str {
    match (headers.arithmetic, headers.progressive) {
        (true, _) => "an arithmetic-coded JPEG image",
        (false, true) => "a progressive JPEG image",
        (false, false) => "a JPEG image with several scans",
    }
}
