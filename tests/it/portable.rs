//! The program starts on systems with an older C library: it names no symbol that only a newer one has. Built here, it needs
//! 2.34. `host/deploy/packages/portable.sh` builds it for 2.28 and checks that; here is checked that it still can.

use std::process::Command;

use crate::process::BINARY;

/// The version of glibc of RHEL 9 and Amazon Linux 2023. A program that is built with glibc 2.34 or later cannot need less.
const OLDEST: (u32, u32) = (2, 34);

/// Functions that got a new version after glibc 2.28, and were in it: they moved into another library (2.32 to 2.34), are
/// exported since (2.33; they were in the part that is linked statically), or set `errno` differently (2.29).
const IN_2_28: [&str; 49] = [
    "__libc_start_main",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "dladdr",
    "dlclose",
    "dlerror",
    "dlopen",
    "dlsym",
    "exp",
    "fcntl64",
    "fstat",
    "fstat64",
    "fstatat64",
    "log",
    "log2",
    "lstat64",
    "mknod",
    "pow",
    "pthread_attr_getguardsize",
    "pthread_attr_getstack",
    "pthread_attr_setguardsize",
    "pthread_attr_setstacksize",
    "pthread_cond_broadcast",
    "pthread_cond_init",
    "pthread_cond_signal",
    "pthread_cond_timedwait",
    "pthread_cond_wait",
    "pthread_condattr_init",
    "pthread_condattr_setclock",
    "pthread_create",
    "pthread_detach",
    "pthread_getattr_np",
    "pthread_getspecific",
    "pthread_join",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_kill",
    "pthread_mutex_trylock",
    "pthread_once",
    "pthread_rwlock_destroy",
    "pthread_rwlock_init",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_unlock",
    "pthread_rwlock_wrlock",
    "pthread_setname_np",
    "pthread_setspecific",
    "stat",
    "stat64",
];

/// The functions that a program must find, with the version of glibc after 2.28 that they have: lines of `readelf --dyn-syms`,
/// `1: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND pow@GLIBC_2.29 (3)`. Without a weak one (`WEAK`) a program starts.
fn newer_than_2_28(symbols: &str) -> Vec<&str> {
    let is_newer = |symbol: &&str| {
        let version = symbol.split_once("@GLIBC_2.").and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
        version.is_some_and(|minor| minor > 28)
    };
    let found = symbols.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(4) == Some(&"GLOBAL") && fields.get(6) == Some(&"UND")).then(|| fields.get(7).copied()).flatten()
    });
    found.filter(is_newer).collect()
}

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
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_program_can_be_built_for_glibc_2_28() {
    let output = match Command::new("readelf").args(["--dyn-syms", "--wide", BINARY]).output() {
        Ok(output) => output,
        Err(error) => return plimsoll_tests::skip(&format!("readelf does not start ({error}; Debian: binutils)")),
    };
    let symbols = String::from_utf8_lossy(&output.stdout);
    let newer = newer_than_2_28(&symbols);
    // The library with which it is linked here decides how many there are.
    println!("{} symbols have a newer version than 2.28", newer.len());
    let name = |symbol: &&str| symbol.split('@').next().unwrap_or_default().to_owned();
    let unknown: Vec<_> = newer.iter().filter(|symbol| !IN_2_28.contains(&name(symbol).as_str())).collect();
    assert_eq!(
        unknown, [&""; 0],
        "glibc 2.28 may not have these functions. Look up since when they exist: if they are older, add them to IN_2_28; if \
         not, nothing may call them, or host/deploy/packages/portable.sh and the documents need a newer version"
    );
}

#[test]
fn the_versions_are_read() {
    let text = "  0x0010:   Name: GLIBC_2.35  Flags: none  Version: 12\n  0x0020:   Name: GCC_3.0  Flags: none  Version: 2\n\
                0x30: Name: GLIBC_2.2.5  Flags: none  Version: 3\n";
    assert_eq!(needed(text), [(2, 35), (2, 2)]);
    let symbols = "   1: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND pow@GLIBC_2.29 (3)\n\
                   2: 0000000000000000     0 FUNC    WEAK   DEFAULT  UND gettid@GLIBC_2.30 (4)\n\
                   3: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND read@GLIBC_2.2.5 (5)\n\
                   4: 0000000000001000     9 FUNC    GLOBAL DEFAULT   12 own\n\
                   5: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND arc4random@GLIBC_2.36 (6)\n";
    assert_eq!(newer_than_2_28(symbols), ["pow@GLIBC_2.29", "arc4random@GLIBC_2.36"]);
}
