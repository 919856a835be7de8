//! The binary: the command line, or, under the name that only this program gives itself, a container's monitor.

use std::process::ExitCode;

/// musl's own gives pages back as soon as they are free and asks for them again: 260 system calls of a run's 1800.
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[allow(clippy::disallowed_methods)] // argv[0] decides what this process is, before any command line is parsed
fn main() -> ExitCode {
    let mut argv = std::env::args_os();
    if argv.next().is_some_and(|name| name == minirun::monitor::spawn::ARGV0) {
        let order = argv.next().unwrap_or_default();
        return ExitCode::from(minirun::monitor::main(&order.to_string_lossy()));
    }
    minirun::cli::main()
}
