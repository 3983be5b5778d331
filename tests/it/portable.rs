//! The program starts on systems with an older C library: it names no symbol that only a newer one has.

use std::process::Command;

use crate::process::BINARY;

/// The version of glibc of RHEL 9 and Amazon Linux 2023. A program that is built with glibc 2.34 or later cannot need less.
const OLDEST: (u32, u32) = (2, 34);

/// The versions of glibc that the program needs, as `readelf` prints them: `Name: GLIBC_2.34  Flags: none  Version: 5`.
fn needed(versions: &str) -> Vec<(u32, u32)> {
    let names = versions.lines().filter_map(|line| line.split_once("Name: GLIBC_"));
    let numbers = names.filter_map(|(_, rest)| {
        let mut numbers = rest.split_whitespace().next()?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    numbers.collect()
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_program_needs_no_newer_c_library_than_supported_systems_have() {
    let output = match Command::new("readelf").args(["--version-info", "--wide", BINARY]).output() {
        Ok(output) => output,
        Err(error) => return plimsoll_tests::skip(&format!("readelf does not start ({error}; Debian: binutils)")),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let needed = needed(&String::from_utf8_lossy(&output.stdout));
    assert!(needed.contains(&(2, 17)) || needed.len() > 3, "no versions were found: {needed:?}");
    let newer: Vec<_> = needed.into_iter().filter(|version| *version > OLDEST).collect();
    assert_eq!(newer, [], "the program would not start with glibc {OLDEST:?}");
}

#[test]
fn the_versions_are_read() {
    let text = "  0x0010:   Name: GLIBC_2.35  Flags: none  Version: 12\n  0x0020:   Name: GCC_3.0  Flags: none  Version: 2\n\
                0x30: Name: GLIBC_2.2.5  Flags: none  Version: 3\n";
    assert_eq!(needed(text), [(2, 35), (2, 2)]);
}
