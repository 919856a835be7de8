//! What the command line takes from its caller besides the words: environment, directory, files named on it.
//! The only place that reads them; everything below gets them as values.
#![allow(clippy::disallowed_methods)]

use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::ops::inside::Word;
use crate::spec::{env, mount};
use std::io::Read as _;

/// A variable of the caller's; one that is not UTF-8 counts as not set, for plans and records are JSON.
pub(super) fn variable(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// `KEY=VALUE` each; what is not UTF-8 is not there, as minirun itself sets none such.
pub(super) fn whole_environment() -> Vec<String> {
    std::env::vars_os().filter_map(|(key, value)| Some(format!("{}={}", key.to_str()?, value.to_str()?))).collect()
}

pub(super) fn words() -> Vec<std::ffi::OsString> {
    std::env::args_os().collect()
}

/// An empty value says no more than none, as with docker: `--name "$NAME"`. But an amount, such as of memory: that limit would
/// be lost in silence.
pub(super) fn given(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}

/// The directory that relative paths start from. A deleted one matters only to who uses a relative path.
pub(super) fn directory() -> Result<String> {
    let dir = std::env::current_dir().map_err(|e| {
        Error::user(format!("the current directory: {}", reason(&e))).hint("cd to a directory that exists")
    })?;
    dir.into_os_string().into_string().map_err(|dir| Error::user(format!("the current directory {dir:?} is not UTF-8")))
}

/// A path on this host, as given on the command line.
pub(super) fn path(text: &str) -> Result<HostPath> {
    if text.is_empty() {
        return Err(Error::user("the path is empty").hint("name a file or directory"));
    }
    if text.starts_with('/') { HostPath::parse(text) } else { mount::host_path(text, &directory()?) }
}

/// A word that may name an image, a container or, with a slash, a path on this host.
pub(super) fn word(text: &str) -> Word {
    let is_path = text.contains('/') || matches!(text, "." | "..");
    Word { text: text.to_owned(), path: if is_path { path(text).ok() } else { None } }
}

/// Where podman and docker keep the caller's logins to registries, the most exact first.
pub(super) fn logins() -> Vec<HostPath> {
    let below = |key: &str, name: &str| variable(key).map(|dir| format!("{dir}/{name}"));
    let files =
        [variable("REGISTRY_AUTH_FILE"), below("DOCKER_CONFIG", "config.json"), below("HOME", ".docker/config.json")];
    files.into_iter().flatten().filter_map(|file| path(&file).ok()).collect()
}

/// The proxies for https and for http, and the hosts that need none; in small letters they count as well (curl(1)).
pub(super) fn proxies() -> [String; 3] {
    let first = |keys: &[&str]| {
        let found = keys.iter().flat_map(|key| [variable(key), variable(&key.to_ascii_lowercase())]).flatten();
        found.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
    };
    [first(&["HTTPS_PROXY", "ALL_PROXY"]), first(&["HTTP_PROXY", "ALL_PROXY"]), first(&["NO_PROXY"])]
}

/// The variables of `--env-file` and then of `-e`, which win.
pub(super) fn environment(files: &[String], words: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for file in files {
        let content = read("--env-file", file)?;
        variables.extend(env::parse_file(&content, &variable).map_err(|e| e.during(file))?);
    }
    for word in words {
        variables.push(env::parse(word, &variable)?);
    }
    Ok(variables)
}

/// The lines of a file that say something: no empty ones, and no comments.
pub(super) fn lines(flag: &str, file: &str) -> Result<Vec<String>> {
    let content = read(flag, file)?;
    let said = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(said.map(str::to_owned).collect())
}

/// The kernel's words, or the library's where it is none of the kernel's (not UTF-8).
fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

fn read(flag: &str, file: &str) -> Result<String> {
    /// Many times what execve(2) takes (ARG_MAX, 2 MiB of the usual stack).
    const LONGEST: u64 = 16 << 20;
    let mut content = String::new();
    let limit = LONGEST + 1;
    std::fs::File::open(file)
        .and_then(|opened| opened.take(limit).read_to_string(&mut content))
        .map_err(|e| Error::user(format!("{file}: {}", reason(&e))).hint(format!("{flag} names a text file")))?;
    if content.len() as u64 > LONGEST {
        return Err(Error::user(format!("{file} is longer than 16 MiB")));
    }
    Ok(content)
}
