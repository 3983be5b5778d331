//! Bodies that are no supported image: the 415 names the format and says what to send.

use plimsoll_tests::Server;

use crate::image_server::with_configurations;

/// A box of the ISO media format that lists brands: the first, a version, and compatible ones.
fn media(brands: &[&str]) -> Vec<u8> {
    let mut brands = brands.iter();
    let mut body = [b"ftyp", brands.next().expect("a brand").as_bytes(), &[0; 4]].concat();
    brands.for_each(|brand| body.extend(brand.as_bytes()));
    let length = body.len() as u32 + 4;
    [length.to_be_bytes().to_vec(), body, vec![0, 0, 0, 9, b'm', b'e', b't', b'a', 0]].concat()
}

fn riff(kind: &[u8]) -> Vec<u8> {
    [b"RIFF\x40\0\0\0", kind, &[0; 52]].concat()
}

async fn message(server: &Server, body: Vec<u8>, wanted: &str) -> String {
    let reply = server.infer("t0", "", body).await;
    assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{wanted}: {}", reply.text);
    reply.json()["detail"].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_that_are_not_supported_are_named() {
    let server = with_configurations(&["width = 8, height = 8"]).await;
    let bytes = |body: &[u8]| [body, &[0; 64]].concat();
    for (name, body) in [
        ("HEIC images", media(&["heic", "mif1", "heic"])),
        ("HEIC images", media(&["mif1", "mif1", "heic"])),
        ("HEIC images", media(&["heix", "mif1"])),
        ("HEIC images", media(&["msf1", "hevc"])),
        ("HEIF images", media(&["mif1", "miaf"])),
        ("AVIF images", media(&["avif", "mif1", "miaf"])),
        ("AVIF images", media(&["mif1", "avif"])),
        ("AVIF images", media(&["avis", "msf1"])),
        ("JPEG XL images", bytes(b"\xFF\x0A")),
        ("JPEG XL images", bytes(b"\0\0\0\x0CJXL \r\n\x87\n")),
        ("JPEG 2000 images", bytes(b"\0\0\0\x0CjP  \r\n\x87\n")),
        ("JPEG 2000 images", bytes(b"\xFF\x4F\xFF\x51")),
        ("PDF documents", bytes(b"%PDF-1.7\n")),
        ("PDF documents", bytes(b"\r\n\n%PDF-1.4\n")),
        ("SVG images", b"<svg xmlns=\"http://www.w3.org/2000/svg\"><rect/></svg>".to_vec()),
        (
            "SVG images",
            b"\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<!-- a picture -->\n<svg:svg/>\n<svg width=\"1\"/>".to_vec(),
        ),
        ("HTML documents", b"<!DOCTYPE html>\n<html><body>404</body></html>".to_vec()),
        ("HTML documents", b"\n\n<html lang=\"en\">".to_vec()),
        ("MP4 videos", media(&["isom", "iso2", "avc1", "mp41"])),
        ("QuickTime videos", media(&["qt  "])),
        ("QuickTime videos", b"\0\0\0\x20moov\0\0\0\x18mvhd\0\0\0\0\0\0\0\0".to_vec()),
        ("WebM or Matroska videos", bytes(b"\x1A\x45\xDF\xA3")),
        ("AVI videos", riff(b"AVI ")),
        ("MPEG videos", bytes(b"\0\0\x01\xBA")),
        ("Flash videos", bytes(b"FLV\x01")),
    ] {
        let message = message(&server, body, name).await;
        let words = format!("{name} are not supported; send a JPEG, PNG, WebP, GIF, BMP or TIFF image");
        assert!(message.contains(&words), "{message}");
    }
    for body in [bytes(b"\x13\x37\xC0\xDE"), vec![0; 300], vec![0xEE; 9]] {
        let message = message(&server, body, "unknown").await;
        assert!(message.contains("not an image of a known format; send a JPEG"), "{message}");
    }
    server.stop().await;
}
