//! The places that every container needs in its root and few images have: where /proc, /dev, /sys and the three files
//! of /etc are mounted. One directory, the lowest layer of every container: what an image has hides it, no container's
//! own changes (`diff`, `export`, `commit`) show it, and nothing has to be made when a container starts.

use super::store::Store;
use crate::error::{During as _, Result};
use crate::id::HostPath;
use crate::sys::fs;

/// All that minirun adds to a root, besides what is asked for (a volume, a working directory).
pub const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
/// Empty files, for the generated ones to be mounted over.
pub const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// The paths of all of it.
pub fn paths() -> Vec<String> {
    DIRECTORIES.iter().chain(&FILES).map(|name| format!("/{name}")).collect()
}

const NAME: &str = "skeleton";

impl Store {
    /// The directory: there as soon as the store is.
    pub fn skeleton(&self) -> HostPath {
        self.root.child(NAME)
    }

    /// Makes it where it is missing.
    pub(super) fn make_skeleton(&self) -> Result<()> {
        let dir = self.skeleton();
        match fs::exists(dir.as_path()) {
            true => Ok(()),
            false => make(&dir).during(|| format!("making {dir}")),
        }
    }
}

/// Makes it beside its place and renames it there; another process may be faster.
fn make(dir: &HostPath) -> Result<()> {
    let new = HostPath::parse(&format!("{dir}.{}", std::process::id()))?;
    fs::mkdir_all(new.as_path(), 0o755)?;
    for name in DIRECTORIES {
        fs::mkdir_all(new.child(name).as_path(), 0o755)?;
    }
    for name in FILES {
        fs::write_new(new.child(name).as_path(), b"", 0o644)?;
    }
    fs::chmod(new.as_path(), 0o755)?;
    match fs::rename(new.as_path(), dir.as_path()) {
        Err(_) if fs::exists(dir.as_path()) => Ok(fs::remove_tree(new.as_path())?),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { root: HostPath::parse(dir.path().to_str().unwrap()).unwrap() };
        let made = store.skeleton();
        make(&made).unwrap();
        make(&made).unwrap(); // somebody else at the same time
        store.make_skeleton().unwrap();
        let names: Vec<_> = fs::list(dir.path()).unwrap();
        assert_eq!(names, [NAME]);
        assert!(FILES.iter().all(|file| fs::read(made.child(file).as_path()).unwrap().is_empty()));
    }
}
