//! PNG files whose pixels or palette are damaged: they are refused, or have the right pixels.

use std::io::Write;

use image_core::{Elements, Rejected, prepare};

use crate::preprocess::settings;

const SIDE: usize = 23;

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checksum = flate2::Crc::new();
    checksum.update(name);
    checksum.update(data);
    let length = u32::try_from(data.len()).expect("a small chunk").to_be_bytes();
    [&length[..], name, data, &checksum.sum().to_be_bytes()].concat()
}

/// A square PNG of 8 bits per sample with these chunks between header and end.
fn png(colour: u8, interlaced: bool, chunks: &[Vec<u8>]) -> Vec<u8> {
    let side = (SIDE as u32).to_be_bytes();
    let header = [&side[..], &side[..], &[8, colour, 0, 0, u8::from(interlaced)]].concat();
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    [vec![signature, chunk(b"IHDR", &header)], chunks.to_vec(), vec![chunk(b"IEND", &[])]].concat().concat()
}

/// The gray of a pixel: any pattern.
fn gray(x: usize, y: usize) -> u8 {
    (x * 11 + y * y * 7) as u8
}

/// Rows of gray samples without a filter, in the order of the PNG specification (Adam7 if interlaced).
fn rows(interlaced: bool) -> Vec<u8> {
    let passes: &[(usize, usize, usize, usize)] = if interlaced {
        &[(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    } else {
        &[(0, 0, 1, 1)]
    };
    let mut rows = Vec::new();
    for &(left, top, across, down) in passes {
        for y in (top..SIDE).step_by(down) {
            rows.push(0);
            rows.extend((left..SIDE).step_by(across).map(|x| gray(x, y)));
        }
    }
    rows
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// True if the compressed data have more bytes than the image. Then nobody reads as far as their checksum: libpng and
/// Pillow answer for such a file too.
fn does_not_end(data: &[u8], bytes: usize) -> bool {
    let mut all = vec![0; bytes + 1];
    let mut decoder = flate2::Decompress::new(true);
    let _ = decoder.decompress(data, &mut all, flate2::FlushDecompress::None);
    decoder.total_out() > bytes as u64
}

fn pixels(file: &[u8]) -> Result<Vec<u8>, Rejected> {
    let side = SIDE as u32;
    prepare(file, &settings(side, side)).map(|(elements, _)| match elements {
        Elements::U8(bytes) => bytes,
        _ => panic!("the settings ask for bytes"),
    })
}

/// The checksum of each chunk is right, so only the compressed data and their own checksum show the damage.
#[test]
fn damaged_pixels_are_refused_although_the_checksums_of_the_chunks_are_right() {
    for interlaced in [false, true] {
        let data = zlib(&rows(interlaced));
        let file = |data: &[u8]| png(0, interlaced, &[chunk(b"IDAT", data)]);
        let right = pixels(&file(&data)).expect("a valid file");
        let expected: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| [gray(at % SIDE, at / SIDE); 3]).collect();
        assert_eq!(right, expected);
        let mut refused = 0;
        for bit in 0..data.len() * 8 {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match pixels(&file(&damaged)) {
                Ok(found) => assert!(
                    found == right || does_not_end(&damaged, rows(interlaced).len()),
                    "interlaced {interlaced}, bit {bit}: wrong pixels"
                ),
                Err(Rejected::Broken(_)) => refused += 1,
                Err(other) => panic!("bit {bit}: {other:?}"),
            }
        }
        println!("interlaced {interlaced}: {refused} of {} refused", data.len() * 8);
        assert!(refused > data.len() * 7);
        // Only the checksum is wrong.
        for at in data.len() - 4..data.len() {
            let mut damaged = data.clone();
            damaged[at] ^= 255;
            assert!(matches!(pixels(&file(&damaged)), Err(Rejected::Broken(_))), "byte {at}");
        }
    }
}

/// A damaged name would hide the orientation.
#[test]
fn a_damaged_name_of_a_chunk_is_refused() {
    // EXIF with one entry: orientation 6.
    let exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    for (name, data) in [(b"eXIf", &exif[..]), (b"tEXt", b"exif\0text"), (b"gAMA", &[0, 1, 0, 0])] {
        let file = |chunk: Vec<u8>| png(0, false, &[chunk, self::chunk(b"IDAT", &zlib(&rows(false)))]);
        let whole = chunk(name, data);
        pixels(&file(whole.clone())).expect("valid");
        for bit in 0..32 {
            let mut damaged = whole.clone();
            damaged[4 + bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(pixels(&file(damaged)), Err(Rejected::Broken(_))), "{name:?}, bit {bit}");
        }
    }
}

#[test]
fn a_palette_that_is_not_a_list_of_colours_is_refused() {
    let indices: Vec<u8> = (0..SIDE).flat_map(|_| [vec![0], vec![1; SIDE]].concat()).collect();
    let file = |palette: &[u8]| png(3, false, &[chunk(b"PLTE", palette), chunk(b"IDAT", &zlib(&indices))]);
    assert_eq!(pixels(&file(&[1, 2, 3, 4, 5, 6])).expect("valid")[..3], [4, 5, 6]);
    for length in [1, 2, 4, 5, 766, 767] {
        let palette = vec![9; length];
        match pixels(&file(&palette)) {
            Err(Rejected::Broken(text)) => assert!(text.contains("palette") || text.contains("PLTE"), "{text}"),
            other => panic!("{length}: {:?}", other.err()),
        }
    }
}
