//! What each command does, as a function that takes a request and gives a result. Nothing here prints, reads the
//! command line or the environment.

pub mod attach;
pub mod containers;

/// This moment, in RFC 3339.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}
