//! Which ids of the host belong to which container's user namespace while it runs: one symbolic link a range, made in
//! one system call, so that two never have the same. Nothing that outlives the container has
//! these ids as an owner.

use super::Roots;
use crate::error::{Errno, Error, Result};
use crate::id::{ContainerId, HostPath};
use crate::sys::fs;
use crate::sys::process::{Identity, Pid};
use crate::sys::record::Lock;
use std::path::Path;

/// What systemd leaves to containers (systemd, UIDS-GIDS.md: "Container UID range"), by 65536.
const FIRST: u32 = 524_288;
const RANGES: u32 = (1_879_048_191 - FIRST) / EACH;
const EACH: u32 = 65536;

/// A range that a container has; `link` says so on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub first: u32,
    pub link: HostPath,
}

/// Ids that somebody of the host's has: of subuid(5) and subgid(5), passwd(5) and group(5).
fn of_others() -> Vec<(u32, u32)> {
    let read = |path: &str| fs::read_text(Path::new(path)).unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u32>().ok());
    let mut taken = Vec::new();
    for line in [read("/etc/subuid"), read("/etc/subgid")].iter().flat_map(|text| text.lines()) {
        let mut words = line.split(':').skip(1);
        if let (Some(first), Some(count)) = (number(words.next()), number(words.next())) {
            taken.push((first, first.saturating_add(count)));
        }
    }
    for line in [read("/etc/passwd"), read("/etc/group")].iter().flat_map(|text| text.lines()) {
        taken.extend(number(line.split(':').nth(2)).map(|id| (id, id.saturating_add(1))));
    }
    taken
}

/// Takes a range for a container that is about to be.
pub fn take(roots: &Roots, id: &ContainerId) -> Result<Taken> {
    let dir = roots.user_ids();
    fs::mkdir_all(dir.as_path(), 0o700)?;
    let us = Identity::of_self()?;
    let holder = format!("{id} {} {}", us.pid, us.start_time);
    for taken in candidates(roots, id) {
        match fs::symlink(&holder, taken.link.as_path()) {
            Err(e) if e.errno == Errno::EEXIST => {}
            done => return Ok(done.map(|()| taken)?),
        }
    }
    Err(Error::host("all ids for user namespaces are taken").hint("minirun repair"))
}

/// What would be taken.
pub fn look(roots: &Roots, id: &ContainerId) -> Result<Taken> {
    let free = candidates(roots, id).find(|taken| fs::read_link(taken.link.as_path()).is_err());
    free.ok_or_else(|| Error::host("all ids for user namespaces are taken").hint("minirun repair"))
}

/// Each range once, from one on that follows from the id, so that two seldom meet.
fn candidates(roots: &Roots, id: &ContainerId) -> impl Iterator<Item = Taken> {
    let start = u32::from_str_radix(&id.as_str()[..7], 16).unwrap_or(0) % RANGES;
    let (dir, others) = (roots.user_ids(), of_others());
    let ranges = (0..RANGES).map(move |n| FIRST + (start + n) % RANGES * EACH);
    let free = ranges.filter(move |first| !overlaps(&others, *first));
    free.map(move |first| Taken { first, link: dir.child(&first.to_string()) })
}

fn overlaps(others: &[(u32, u32)], first: u32) -> bool {
    others.iter().any(|(from, to)| *from < first + EACH && first < *to)
}

/// Makes sure of a range, now that the container's life says whose it is: between, it may have been taken for nobody's.
pub fn keep(link: &HostPath, id: &ContainerId) -> Result<()> {
    let dir = link.as_path().parent().unwrap_or(Path::new("/"));
    let _lock = Lock::directory(dir)?;
    match fs::read_link(link.as_path()) {
        Ok(holder) if holder.starts_with(id.as_str()) => Ok(()),
        _ => Err(Error::host("the ids of its user namespace were given back before it was there").hint("try again")),
    }
}

/// Gives a range back, if it is this container's.
pub fn release(link: &HostPath, id: &ContainerId) -> Result<()> {
    match fs::read_link(link.as_path()) {
        Ok(holder) if holder.starts_with(id.as_str()) => Ok(fs::unlink(link.as_path())?),
        _ => Ok(()),
    }
}

/// The same for all that this container has.
pub fn release_all(roots: &Roots, id: &ContainerId) -> Result<()> {
    let dir = roots.user_ids();
    if !fs::exists(dir.as_path()) {
        return Ok(());
    }
    fs::list(dir.as_path())?.iter().try_for_each(|name| release(&dir.child(name), id))
}

/// Gives back what nobody has: whoever took it was killed before there was a container. Gives how many there were.
pub fn sweep(roots: &Roots) -> Result<usize> {
    let dir = roots.user_ids();
    if !fs::exists(dir.as_path()) {
        return Ok(0);
    }
    // of two that find the same one, the slower would take it from the next
    let _lock = Lock::directory(dir.as_path())?;
    let mut swept = 0;
    for name in fs::list(dir.as_path())? {
        let link = dir.child(&name);
        if !fs::read_link(link.as_path()).is_ok_and(|holder| is_held(roots, &holder)) {
            fs::unlink(link.as_path())?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn is_held(roots: &Roots, holder: &str) -> bool {
    let mut words = holder.split(' ');
    let lives = words.next().and_then(|id| ContainerId::parse(id).ok()).is_some_and(|id| {
        fs::exists(roots.life(&id).as_path()) // whoever takes that back gives this back, too
    });
    let pid = words.next().and_then(|pid| pid.parse().ok()).and_then(|pid| Identity::of(Pid(pid)).ok());
    lives || pid.is_some_and(|us| us.is_alive() && words.next() == Some(&us.start_time.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(start: &str) -> ContainerId {
        ContainerId::parse(&format!("{start:0<64}")).unwrap()
    }

    #[test]
    fn what_others_have_is_left_to_them() {
        let others = [(524_288, 589_824), (1000, 1001)];
        assert_eq!([524_288, 589_824].map(|first| overlaps(&others, first)), [true, false]);
        assert!(overlaps(&[(600_000, 600_001)], 589_824) && !overlaps(&[(655_360, 655_361)], 589_824));
    }

    #[test]
    fn no_two_have_the_same_and_what_nobody_has_is_given_back() {
        let home = tempfile::tempdir().unwrap();
        let dir = |name: &str| HostPath::parse(home.path().join(name).to_str().unwrap()).unwrap();
        let roots = Roots {
            root: dir("root"),
            state: dir("state"),
            config: dir("config"),
            logins: Vec::new(),
            proxies: Default::default(),
        };
        let (one, other) = (id("abcdef0a"), id("abcdef0b"));
        let looked = look(&roots, &one).unwrap();
        let (first, second) = (take(&roots, &one).unwrap(), take(&roots, &other).unwrap());
        assert_eq!(looked, first);
        assert_eq!(second.first.abs_diff(first.first), 65536);
        release(&first.link, &other).unwrap();
        keep(&first.link, &one).unwrap();
        assert_eq!(sweep(&roots).unwrap(), 0); // we live
        release(&first.link, &one).unwrap();
        assert!(keep(&first.link, &one).is_err());
        fs::symlink(&format!("{one} 1 0"), first.link.as_path()).unwrap();
        assert_eq!(sweep(&roots).unwrap(), 1);
        assert_eq!(take(&roots, &one).unwrap(), first);
    }
}
