//! The binary `plimsoll`. All its code is in the library, so that tests can use it.

fn main() -> std::process::ExitCode {
    plimsoll::cli::main()
}
