//! The binary `plimsoll`. All its code is in the library, so that tests can use it.

pub(crate) fn main() -> std::process::ExitCode {
    plimsoll::cli::main()
}

/// The `hypotf` of this program, for rten. Version 2.35 of glibc has a new one under the same name, which the linker would
/// take, and then the program would not start with an older library (RHEL 9 and Amazon Linux 2023 have 2.34). This is the
/// computation of that version: the squares are exact in 64 bits.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "it replaces a function of the C library")]
// SAFETY: it has the parameters, the result and the meaning of the function that it replaces (hypot(3)).
#[unsafe(no_mangle)]
extern "C" fn hypotf(x: f32, y: f32) -> f32 {
    if x.is_infinite() || y.is_infinite() {
        return f32::INFINITY;
    }
    let (x, y) = (f64::from(x), f64::from(y));
    (x * x + y * y).sqrt() as f32
}
