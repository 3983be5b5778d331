//! TIFF: reads the first page. The directory is read and checked here, so that everything that is not read exactly is
//! refused with its name; only the codecs are crates. Strips are decoded row by row, tiles one row of tiles at a time.

mod chunk;
mod colour;
mod directory;
mod jpeg;
mod layout;
mod source;
mod tags;

use crate::Settings;
use crate::exif;
use crate::lanes::Lanes;
use crate::limits::Rejected;
use crate::output::Output;
use crate::rows::{Rows, rows_bytes};
use chunk::Chunk;
use directory::Directory;
use layout::{Layout, Place};
use tags::Compression;

pub(crate) fn prepare<'a, L: Lanes>(body: &[u8], settings: &'a Settings) -> Result<Output<'a>, Rejected> {
    let tags = Directory::read(body)?;
    let layout = Layout::read(&tags)?;
    let (width, height) = (layout.width, layout.height);
    settings.limits.check_size("TIFF", width, height)?;
    // Metadata cannot make the image unreadable, unless they show that the file is not complete. Tag 700 is XMP, in bytes.
    if tags.is_cut_off(700) {
        return Err(Rejected::broken("TIFF", "the file ends inside its XMP metadata, so its orientation is unknown"));
    }
    let xmp = tags.find(700).ok().flatten().map(|values| values.bytes);
    let mut output = settings.output((width, height), exif::chosen(tags.orientation(), xmp));
    let needed = estimated_bytes(&layout, body).saturating_add(rows_bytes(width, height, output.y));
    let left = settings.limits.check_bytes("a TIFF image", width, height, needed)?;

    let planes = if layout.planar { layout.kept } else { 1 };
    let mut rows = Rows::<L>::new(&mut output, width, height, layout.colours.output());
    let row_bytes = width as usize * layout.kept;
    if layout.tiled {
        let mut band = vec![0; row_bytes * layout.chunk_height.min(height) as usize];
        for row in 0..height.div_ceil(layout.chunk_height) {
            let lines = layout.chunk_height.min(height - row * layout.chunk_height);
            for plane in 0..planes {
                for column in 0..layout.chunks_across() {
                    let mut chunk = Chunk::open::<L>(&tags, &layout, Place { plane, row, column }, lines, left)?;
                    let first = column as usize * layout.chunk_width as usize * layout.kept;
                    let last = row_bytes.min(first + layout.chunk_width as usize * layout.kept);
                    for line in band.chunks_exact_mut(row_bytes).take(lines as usize) {
                        chunk.next(&mut line[first..last], plane)?;
                    }
                    chunk.finish()?;
                }
            }
            for line in band.chunks_exact(row_bytes).take(lines as usize) {
                rows.push(|row| layout.colours.convert(line, layout.premultiplied, row))?;
            }
        }
    } else {
        let mut line = vec![0; row_bytes];
        for row in 0..height.div_ceil(layout.chunk_height) {
            let lines = layout.chunk_height.min(height - row * layout.chunk_height);
            let open =
                |plane| Chunk::open::<L>(&tags, &layout, Place { plane, row, column: 0 }, lines, left / planes as u64);
            let mut chunks = (0..planes).map(open).collect::<Result<Vec<_>, _>>()?;
            for _ in 0..lines {
                for (plane, chunk) in chunks.iter_mut().enumerate() {
                    chunk.next(&mut line, plane)?;
                }
                rows.push(|row| layout.colours.convert(&line, layout.premultiplied, row))?;
            }
            chunks.into_iter().try_for_each(Chunk::finish)?;
        }
    }
    rows.finish();
    Ok(output)
}

/// Estimates the bytes that decoding allocates, without those of the resampler.
fn estimated_bytes(layout: &Layout<'_>, body: &[u8]) -> u64 {
    let planes = if layout.planar { layout.kept as u64 } else { 1 };
    let open = if layout.tiled { 1 } else { planes };
    let kept = u64::from(layout.width) * layout.kept as u64;
    let lines = if layout.tiled { u64::from(layout.chunk_height.min(layout.height)) } else { 1 };
    let compressed = layout.longest_chunk(body);
    let height = u64::from(layout.chunk_height);
    let decoder = match layout.compression {
        Compression::Stored | Compression::PackBits => 0,
        Compression::Lzw | Compression::Deflate => source::DECODER_BYTES,
        Compression::FaxRows | Compression::FaxGroup3(_) | Compression::FaxGroup4 => {
            // The positions of the changes in two rows, four bytes each, in vectors that double.
            layout.row_bytes().saturating_mul(height.min(u64::from(layout.height))) + 16 * u64::from(layout.chunk_width)
        }
        Compression::Jpeg => jpeg::estimated_bytes(layout).saturating_add(compressed),
    };
    // A copy of the compressed bytes with their bits reversed.
    let reversed = if layout.reversed { compressed } else { 0 };
    let chunk = decoder.saturating_add(reversed).saturating_add(layout.row_bytes().saturating_mul(2));
    chunk.saturating_mul(open).saturating_add(kept.saturating_mul(lines))
}

/// The image is broken.
fn broken(error: impl std::fmt::Display) -> Rejected {
    Rejected::broken("TIFF", error)
}

/// The image has a feature that is not supported; `supported` says what is supported instead.
fn unsupported(feature: &str, supported: &str) -> Rejected {
    Rejected::Unknown(format!("this TIFF uses {feature}; only {supported} are supported"))
}
