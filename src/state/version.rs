//! Every record says which format it is in. Pure.

use crate::error::{Error, Kind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The version where it stands first, as we write it: without reading all of the record twice.
fn first(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(br#"{"version":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// A record of at most this version; `remedy` is what helps where it is broken.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], newest: u32, remedy: &str) -> Result<T> {
    let broken = |e: serde_json::Error| Error::host(format!("the record is broken ({e})")).hint(remedy);
    let version = match first(bytes) {
        Some(version) => version,
        None => serde_json::from_slice::<Versioned>(bytes).map_err(broken)?.version,
    };
    if version > newest {
        let what = format!("the record is of version {version}, newer than this minirun's {newest}");
        return Err(Error::new(Kind::Newer, what).hint("use the newer minirun"));
    }
    serde_json::from_slice(bytes).map_err(broken)
}
