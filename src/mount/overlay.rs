//! Layers as one tree: overlayfs, told of them as the kernel at hand takes it (Documentation/filesystems/overlayfs.rst).
//!
//! A string of fsconfig(2) has room for a few layers. Linux 6.5 takes more of them one by one, as `lowerdir+`; an older
//! one gets them by mount(2), whose options have a page, under short names.

use super::step::{lowerdir, overlay_escape};
use crate::error::{Errno, Error, Result};
use crate::id::HostPath;
use crate::sys::fs::Root;
use crate::sys::mount::{self, Parameter};
use std::os::fd::OwnedFd;
use std::path::Path;

/// The longest string that fsconfig(2) takes: 256 bytes with its end.
const STRING_MAX: usize = 255;
const ONE_BY_ONE: &str = "lowerdir+";
/// The longest options that mount(2) takes: a page with its end.
const OPTIONS_MAX: usize = 4095;
/// MOUNT_ATTR_RDONLY, NOSUID, NODEV and NOEXEC, which are MS_* too.
const ALIKE: u64 = 0xf;

/// Layers (lowest first) as one tree, attached nowhere. Without `changes` it is read-only, and then needs two layers.
pub fn overlay(lower: &[HostPath], changes: Option<(&HostPath, &HostPath)>, volatile: bool) -> Result<OwnedFd> {
    let joined = lowerdir(lower);
    let (upper, work);
    let mut parameters = vec![Parameter::Text("source", "overlay")];
    parameters.extend(layers(&joined, lower.iter().rev().map(HostPath::as_str)));
    if let Some((upperdir, workdir)) = changes {
        (upper, work) = (overlay_escape(upperdir.as_str()), overlay_escape(workdir.as_str()));
        parameters.extend([Parameter::Text("upperdir", &upper), Parameter::Text("workdir", &work)]);
    }
    if volatile {
        parameters.push(Parameter::Flag("volatile"));
    }
    made(&parameters, 0, None)
}

/// Layers as parameters: joined where they fit into one string, else one by one, highest first.
pub(super) fn layers<'a>(joined: &'a str, highest_first: impl Iterator<Item = &'a str>) -> Vec<Parameter<'a>> {
    match joined.len() <= STRING_MAX {
        true => vec![Parameter::Text("lowerdir", joined)],
        false => highest_first.map(|dir| Parameter::Text(ONE_BY_ONE, dir)).collect(),
    }
}

/// What the nth layer is called in a place of its own, where many are to fit into a page of options.
pub(super) fn short_name(n: usize) -> String {
    n.to_string()
}

/// An overlay, attached nowhere; `attributes` are MOUNT_ATTR_*. `place` is where its layers have relative names, if they
/// have: see [`mount::in_a_copy`].
pub(super) fn made(parameters: &[Parameter<'_>], attributes: u64, place: Option<&Root>) -> Result<OwnedFd> {
    let error = match mount::detached("overlay", parameters, attributes) {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    let one_by_one = parameters.iter().any(|one| matches!(one, Parameter::Text(ONE_BY_ONE, _)));
    if error.errno != Errno::EINVAL || !one_by_one {
        return Err(error.into());
    }
    let made = match place {
        Some(place) => by_mount(place, parameters, attributes),
        None => mount::in_a_copy(|place| by_mount(place, parameters, attributes)),
    };
    // what the newer call has said of it is more than EINVAL
    made.map_err(|older| if older.is_errno(Errno::EINVAL) { error.into() } else { older })
}

/// The same by mount(2), in a copy of the mount namespace: it makes nothing that is attached nowhere.
fn by_mount(place: &Root, parameters: &[Parameter<'_>], attributes: u64) -> Result<OwnedFd> {
    let (options, names) = options(parameters);
    if options.len() > OPTIONS_MAX {
        let error = Error::image(format!("{} layers are too many for this kernel", names.len()));
        return Err(error.hint("their names fit into no page of options; Linux 6.5 or newer takes them one by one"));
    }
    for (name, dir) in names.iter().enumerate().filter(|(_, dir)| dir.starts_with('/')) {
        place.symlink(dir, Path::new(&short_name(name)))?;
    }
    let read_only = parameters.contains(&Parameter::Flag("ro"));
    let flags = attributes & ALIKE | if read_only { libc::MS_RDONLY } else { 0 };
    let made = mount::detached_by_name(place, "overlay", &options, flags)?;
    match attributes & !ALIKE {
        0 => {}
        rest => mount::set_attributes(&made, rest, false)?,
    }
    Ok(made)
}

/// The options, and the directories of the layers in their order. One with an absolute path goes by its number.
fn options<'a>(parameters: &[Parameter<'a>]) -> (String, Vec<&'a str>) {
    let (mut options, mut names) = (Vec::new(), Vec::new());
    for parameter in parameters {
        match parameter {
            Parameter::Text("source", _) | Parameter::Flag("ro") => {}
            Parameter::Text(ONE_BY_ONE, dir) => names.push(*dir),
            Parameter::Text(key, value) => options.push(format!("{key}={}", value.replace(',', "\\,"))),
            Parameter::Flag(word) => options.push((*word).to_owned()),
        }
    }
    let short = names.iter().enumerate().map(|(n, dir)| match dir.starts_with('/') {
        true => short_name(n),
        false => (*dir).to_owned(),
    });
    let lower = format!("lowerdir={}", short.collect::<Vec<_>>().join(":"));
    ([vec![lower], options].concat().join(","), names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_string_holds_is_one_string_and_more_is_given_one_by_one() {
        let dirs: Vec<String> = (0..30).map(|n| format!("/l/{n:012}")).collect();
        let of = |count: usize| {
            let joined = dirs[..count].join(":");
            layers(&joined, dirs[..count].iter().map(String::as_str)).len()
        };
        assert_eq!((of(1), of(15), of(16), of(30)), (1, 1, 1, 30));
    }

    #[test]
    fn the_options_of_mount_name_layers_by_number_and_escape_commas() {
        let parameters = [
            Parameter::Text("source", "overlay"),
            Parameter::Text(ONE_BY_ONE, "/l/b,c"),
            Parameter::Text(ONE_BY_ONE, "7"),
            Parameter::Flag("ro"),
            Parameter::Text("upperdir", r"/u,1\:2"),
            Parameter::Flag("volatile"),
        ];
        let (text, names) = options(&parameters);
        assert_eq!(text, r"lowerdir=0:7,upperdir=/u\,1\:2,volatile");
        assert_eq!(names, ["/l/b,c", "7"]);
    }
}
