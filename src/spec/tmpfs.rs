//! `--tmpfs TARGET[:OPTIONS]`. Pure text to data.

use super::mount::target;
use super::size;
use crate::error::{Error, Result};
use crate::id::ContainerPath;
use serde::{Deserialize, Serialize};

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsMount {
    pub target: ContainerPath,
    /// Bytes; absent: half the memory, the kernel's default (tmpfs(5)).
    pub size: Option<u64>,
    /// Permission bits of its root; absent: 1777.
    pub mode: Option<u32>,
    /// Mount flags and further tmpfs options as given: `exec`, `uid=5`, `size=50%`.
    pub options: Vec<String>,
}

/// Flags that docker lets through (moby/sys/mount, flags.go).
const FLAGS: [&str; 18] = [
    "async",
    "atime",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nosuid",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "suid",
    "sync",
];

/// tmpfs(5)'s own options with a value, but for size and mode, which are parsed.
const WITH_VALUE: [&str; 5] = ["gid", "mpol", "nr_blocks", "nr_inodes", "uid"];

pub fn parse(text: &str) -> Result<TmpfsMount> {
    let bad = |why: &str| {
        Error::user(format!("invalid tmpfs {text:?}: {why}"))
            .hint("--tmpfs /DIR[:size=64m,mode=1777,uid=,gid=,ro,exec]")
    };
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let path = target(path).map_err(|_| bad("the target is an absolute path, not /"))?;
    let mut tmpfs = TmpfsMount { target: path, size: None, mode: None, options: Vec::new() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", percent)) if is_percentage(percent) => tmpfs.options.push(option.to_owned()),
            Some(("size", bytes)) => tmpfs.size = Some(size::parse(bytes).map_err(|e| bad(&e.message))?),
            Some(("mode", mode)) => {
                tmpfs.mode = Some(parse_mode(mode).ok_or_else(|| bad("mode is an octal number such as 1777"))?);
            }
            Some((key, value)) if WITH_VALUE.contains(&key) && !value.is_empty() => {
                tmpfs.options.push(option.to_owned());
            }
            None if FLAGS.contains(&option) => tmpfs.options.push(option.to_owned()),
            _ => {
                return Err(bad(&format!("no such option {option:?}")));
            }
        }
    }
    Ok(tmpfs)
}

fn is_percentage(text: &str) -> bool {
    text.strip_suffix('%').and_then(|number| number.parse::<u8>().ok()).is_some_and(|percent| percent <= 100)
}

/// Octal permission bits, at most 7777.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777 && !text.starts_with('+'))
}

/// The mount options in OCI's form: docker's noexec, nosuid, nodev, but where the caller said the opposite.
pub(super) fn oci_options(tmpfs: &TmpfsMount) -> Vec<String> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
    for option in tmpfs.options.iter().filter(|option| *option != "defaults") {
        let opposite = opposite(option);
        options.retain(|earlier| *earlier != opposite && earlier != option);
        options.push(option.clone());
    }
    options.extend(tmpfs.mode.map(|mode| format!("mode={mode:o}")));
    options.extend(tmpfs.size.map(|bytes| format!("size={bytes}")));
    options
}

fn opposite(flag: &str) -> String {
    match flag {
        "ro" => "rw".to_owned(),
        "rw" => "ro".to_owned(),
        "sync" => "async".to_owned(),
        "async" => "sync".to_owned(),
        _ => flag.strip_prefix("no").map_or_else(|| format!("no{flag}"), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_is_dockers() {
        for (text, want) in [
            ("/run", "/run nosuid,nodev,noexec"),
            ("/run:", "/run nosuid,nodev,noexec"),
            ("/run:rw,exec,size=64m", "/run nosuid,nodev,rw,exec,size=67108864"),
            ("/tmp:mode=1777,uid=5", "/tmp nosuid,nodev,noexec,uid=5,mode=1777"),
            ("/tmp:size=50%", "/tmp nosuid,nodev,noexec,size=50%"),
            ("/tmp:noexec,exec,noexec", "/tmp nosuid,nodev,noexec"),
            ("/tmp:ro,defaults", "/tmp nosuid,nodev,noexec,ro"),
        ] {
            let tmpfs = parse(text).unwrap();
            assert_eq!(format!("{} {}", tmpfs.target, oci_options(&tmpfs).join(",")), want, "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in
            ["", "run", "/", "/run:bind", "/run:size=", "/run:size=101%", "/run:mode=8", "/run:uid=", "/run:x=y"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
