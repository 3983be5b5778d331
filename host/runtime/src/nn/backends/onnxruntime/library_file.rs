//! Checks of the file of a library before it is loaded. The loader of the operating system ends the process for a file that is
//! shorter than its headers say (a copy that was interrupted), and waits for ever for a pipe.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of the header of an ELF file of 64 bits.
const HEADER: usize = 64;
/// Bytes of the description of a segment.
const SEGMENT: usize = 56;
/// The first bytes of an ELF file of 64 bits, little-endian.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// Why a file cannot be a library.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibraryFileError {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("the file is truncated: it has {found} bytes, and its headers name {expected}; copy it again")]
    Truncated { found: u64, expected: u64 },
}

/// The path of a library without symbolic links, if the loader can be given it. Files that are no libraries at all are the
/// loader's to refuse.
pub(super) fn check(path: &Path) -> Result<PathBuf, LibraryFileError> {
    let path = path.canonicalize()?;
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(LibraryFileError::NoFile);
    }
    let (mut file, found) = (File::open(&path)?, metadata.len());
    match expected(&mut file)? {
        Some(expected) if expected > found => Err(LibraryFileError::Truncated { found, expected }),
        _ => Ok(path),
    }
}

/// The bytes that the segments of a library take in its file; `None` for another kind of file.
fn expected(file: &mut File) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if !is_read(file.read_exact(&mut header))? || !header.starts_with(&MAGIC) {
        return Ok(None);
    }
    let short = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let long = |bytes: &[u8], at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let (start, size, count) = (long(&header, 32), short(&header, 54), short(&header, 56));
    if usize::from(size) != SEGMENT {
        return Ok(None);
    }
    let table = u64::from(size) * u64::from(count);
    let mut expected = start.saturating_add(table);
    file.seek(SeekFrom::Start(start))?;
    let mut segment = [0; SEGMENT];
    for _ in 0..count {
        if !is_read(file.read_exact(&mut segment))? {
            break;
        }
        // Where it is in the file, and how long it is there.
        expected = expected.max(long(&segment, 8).saturating_add(long(&segment, 32)));
    }
    Ok(Some(expected))
}

/// False at the end of the file.
fn is_read(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_shorter_than_its_segments_is_truncated() {
        let program = std::env::current_exe().expect("a path");
        let path = check(&program).expect("whole");
        let mut bytes = vec![0; 4_096];
        File::open(path).expect("readable").read_exact(&mut bytes).expect("longer");
        let folder = std::env::temp_dir().join(format!("plimsoll-library-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("cut.so");
        for length in [HEADER, 1_000, bytes.len()] {
            std::fs::write(&file, &bytes[..length]).expect("written");
            let error = check(&file).expect_err("truncated").to_string();
            assert!(error.contains(&format!("it has {length} bytes")), "{error}");
        }
        for other in [&b""[..], b"text", &bytes[..HEADER - 1], &[0; 200]] {
            std::fs::write(&file, other).expect("written");
            assert_eq!(check(&file).expect("the loader refuses it"), file.canonicalize().expect("there"));
        }
        let loops = folder.join("loop.so");
        let _ = std::fs::remove_file(&loops);
        std::os::unix::fs::symlink("loop.so", &loops).expect("a link");
        assert!(matches!(check(&loops), Err(LibraryFileError::Unreadable(_))));
        assert!(matches!(check(&folder), Err(LibraryFileError::NoFile)));
        assert!(matches!(check(&folder.join("nowhere.so")), Err(LibraryFileError::Unreadable(_))));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
