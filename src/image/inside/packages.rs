//! Which packages a root says it has, by the databases of the package managers.

use super::rpm;
use super::tree::{Tree, name_of};
use std::collections::BTreeMap;

/// A database of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    /// `dpkg`, `status.d` (distroless images, which have no dpkg), `apk`, `pacman`, `rpm`.
    pub format: &'static str,
    pub path: String,
    /// Versions by name; `None` where the database cannot be read.
    pub list: Option<BTreeMap<String, String>>,
}

/// dpkg's database of a whole distribution is 10 MB long.
const MAX_DATABASE: u64 = 128 << 20;
/// rpm's is 20 to 100 MB long, and more where it was never rebuilt.
const MAX_RPM: u64 = 512 << 20;
/// One package of status.d, with its description.
const MAX_PACKAGE: u64 = 1 << 20;

const RPM: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// The first database that is there.
pub fn packages(tree: &Tree) -> Option<Packages> {
    let of = |format, path: &str, list| Some(Packages { format, path: path.to_owned(), list: Some(list) });
    let text = |path: &str| tree.read(path, MAX_DATABASE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    const DPKG: &str = "/var/lib/dpkg/status";
    const STATUS_D: &str = "/var/lib/dpkg/status.d";
    if let Some(status) = text(DPKG).filter(|status| !status.trim().is_empty()) {
        return of("dpkg", DPKG, stanzas(&status));
    }
    if let Some(dir) = tree.resolve(STATUS_D.as_bytes()) {
        let mut list = BTreeMap::new();
        for (key, _) in tree.children(&dir).filter(|(key, node)| node.is_file() && !key.ends_with(b".md5sums")) {
            let stanza = tree.read_key(key, MAX_PACKAGE).unwrap_or_default();
            list.extend(stanzas(&String::from_utf8_lossy(&stanza)));
        }
        return of("status.d", STATUS_D, list);
    }
    for path in ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"] {
        if let Some(installed) = text(path) {
            return of("apk", path, records(&installed));
        }
    }
    const PACMAN: &str = "/var/lib/pacman/local";
    if let Some(dir) = tree.resolve(PACMAN.as_bytes()) {
        let names = tree.children(&dir).filter(|(_, node)| node.is_dir());
        let names = names.map(|(key, _)| String::from_utf8_lossy(name_of(key)).into_owned());
        return of("pacman", PACMAN, names.filter_map(|name| release(&name)).collect());
    }
    for dir in ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"] {
        let path = RPM.iter().map(|name| format!("{dir}/{name}")).find(|path| tree.file(path).is_some());
        if let Some(path) = path {
            let size = |path: &str| tree.file(path).map_or(0, |(_, node)| node.size);
            // what stands in a write-ahead log of SQLite is not in the database yet
            let is_whole = size(&path) <= MAX_RPM && size(&format!("{path}-wal")) == 0;
            let database = is_whole.then(|| tree.read(&path, MAX_RPM)).flatten();
            return Some(Packages { format: "rpm", path, list: database.and_then(|bytes| rpm::list(&bytes)) });
        }
    }
    None
}

/// The installed packages of dpkg's status (deb-control(5)); one that is there for two architectures has both names.
fn stanzas(text: &str) -> BTreeMap<String, String> {
    let mut list = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned());
            stanza.lines().find_map(value)
        };
        let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        if let (Some(name), Some(version), true) = (field("Package"), field("Version"), installed) {
            let name = match list.contains_key(&name) {
                true => format!("{name}:{}", field("Architecture").unwrap_or_default()),
                false => name,
            };
            list.insert(name, version);
        }
    }
    list
}

/// apk's database: a letter and a value on each line (apk-tools, src/database.c).
fn records(text: &str) -> BTreeMap<String, String> {
    let record = |record: &str| {
        let field = |letter: &str| record.lines().find_map(|line| line.strip_prefix(letter)).map(str::to_owned);
        Some((field("P:")?, field("V:")?))
    };
    text.split("\n\n").filter_map(record).collect()
}

/// `NAME-VERSION-RELEASE`
fn release(name: &str) -> Option<(String, String)> {
    let at = name.rmatch_indices('-').nth(1)?.0;
    Some((name[..at].to_owned(), name[at + 1..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn what_is_installed_has_a_name_and_a_version() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1:2-3\nDescription: x\n Version: 9\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: a\nStatus: install ok installed\nArchitecture: i386\nVersion: 4\n";
        assert_eq!(stanzas(status), map(&[("a", "1:2-3"), ("a:i386", "4")]));
        assert_eq!(stanzas("Package: tzdata\nVersion: 1\n"), map(&[("tzdata", "1")]));
        assert_eq!(records("C:x\nP:musl\nV:1.2.4-r2\n\nP:broken\n\n"), map(&[("musl", "1.2.4-r2")]));
        assert_eq!(release("gcc-libs-13.1-2"), Some(("gcc-libs".into(), "13.1-2".into())));
        assert_eq!(release("x"), None);
    }
}
