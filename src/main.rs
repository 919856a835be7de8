//! The binary: the command line, or, under the name that only this program gives itself, a container's monitor.

use std::process::ExitCode;

#[allow(clippy::disallowed_methods)] // argv[0] decides what this process is, before any command line is parsed
fn main() -> ExitCode {
    let mut argv = std::env::args_os();
    if argv.next().is_some_and(|name| name == minirun::monitor::spawn::ARGV0) {
        let order = argv.next().unwrap_or_default();
        return ExitCode::from(minirun::monitor::main(&order.to_string_lossy()));
    }
    minirun::cli::main()
}
