//! What a monitor has to say when nobody listens: `monitor.log` beside the container's output, at most so long.

use crate::id::HostPath;
use crate::sys::fs;
use std::io::Write as _;

/// The name of the file in a container's directory.
pub const NAME: &str = "monitor.log";

/// In bytes: what comes after that is not kept, for the first errors tell more than the last.
const MAX: u64 = 64 * 1024;

/// Notes an error. Where that fails too there is nobody left to tell.
pub(super) fn note(dir: &HostPath, text: &dyn std::fmt::Display) {
    let Ok(mut file) = fs::open_append(dir.child(NAME).as_path()) else { return };
    if file.metadata().is_ok_and(|meta| meta.len() < MAX) {
        let _ = writeln!(file, "{} {text}", jiff::Timestamp::now());
    }
}
