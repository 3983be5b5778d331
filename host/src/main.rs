//! The binary `plimsoll`; all of it is in the library, so that a test can do whatever this does.

fn main() -> std::process::ExitCode {
    plimsoll::cli::main()
}
