//! What makes a root file system a system: its distribution, C library, loader, shell, certificates, time zones, users,
//! and the files that give rights. Found by where things stand and by what short files say.

use super::tree::{Tree, name_of, shown};

/// What was found. A missing thing is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    pub distribution: Option<Distribution>,
    pub libc: Option<Libc>,
    pub loader: Option<String>,
    /// The path, and the name of what it leads to.
    pub shell: Option<(String, String)>,
    /// The program that installs packages.
    pub manager: Option<&'static str>,
    pub certificates: Option<Certificates>,
    /// How many time zones there are.
    pub time_zones: usize,
    pub users: usize,
    /// Paths of the files with set-user-ID or set-group-ID.
    pub setuid: Vec<String>,
}

/// os-release(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub id: String,
    pub version: Option<String>,
    pub name: String,
}

/// A C library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libc {
    /// `glibc` or `musl`.
    pub kind: &'static str,
    pub version: Option<String>,
    pub path: String,
}

/// The certificates that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    pub path: String,
    pub count: usize,
}

/// os-release, passwd and their like.
const MAX_TEXT: u64 = 16 << 20;
/// glibc's libc.so.6 has 2 MB.
const MAX_LIBC: u64 = 32 << 20;

const SHELLS: [&str; 7] = ["/bin/sh", "/bin/bash", "/bin/ash", "/bin/dash", "/bin/zsh", "/busybox/sh", "/usr/bin/fish"];
const MANAGERS: [&str; 9] = ["apt", "apt-get", "dnf", "microdnf", "yum", "zypper", "apk", "pacman", "dpkg"];
/// Where distributions keep the bundle: Debian and Alpine, Fedora, openSUSE, others.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub fn look(tree: &Tree) -> Os {
    let setuid = tree.entries.iter().filter(|(_, node)| node.is_setuid()).map(|(key, _)| shown(key));
    Os {
        distribution: distribution(tree),
        libc: libc(tree),
        loader: loader(tree),
        shell: SHELLS.iter().find_map(|path| {
            let (key, node) = tree.file(path)?;
            let name = String::from_utf8_lossy(name_of(&key)).into_owned();
            node.is_program().then(|| ((*path).to_owned(), name))
        }),
        manager: MANAGERS.into_iter().find(|name| is_program(tree, name)),
        certificates: BUNDLES.iter().find_map(|path| certificates(tree, path)),
        time_zones: time_zones(tree),
        users: text(tree, "/etc/passwd").map_or(0, |text| text.lines().filter(|line| is_user(line)).count()),
        setuid: setuid.collect(),
    }
}

fn text(tree: &Tree, path: &str) -> Option<String> {
    tree.read(path, MAX_TEXT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn is_program(tree: &Tree, name: &str) -> bool {
    let mut places = ["/usr/bin", "/bin", "/sbin", "/usr/sbin"].iter().map(|dir| format!("{dir}/{name}"));
    // busybox has a dpkg of its own, which manages nothing
    places.any(|path| tree.file(&path).is_some_and(|(key, node)| node.is_program() && name_of(&key) != b"busybox"))
}

fn distribution(tree: &Tree) -> Option<Distribution> {
    let text = text(tree, "/etc/os-release").or_else(|| text(tree, "/usr/lib/os-release"))?;
    let id = value(&text, "ID").unwrap_or_else(|| "linux".to_owned()); // os-release(5)
    let version = value(&text, "VERSION_ID");
    let name = value(&text, "PRETTY_NAME").or_else(|| value(&text, "NAME")).unwrap_or_else(|| id.clone());
    Some(Distribution { id, version, name })
}

fn value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
}

/// name:password:uid:gid:…
fn is_user(line: &str) -> bool {
    let mut fields = line.split(':');
    fields.next().is_some_and(|name| !name.is_empty() && !name.starts_with('#')) && fields.count() >= 3
}

fn libc(tree: &Tree) -> Option<Libc> {
    let mut musl = None;
    for (key, node) in &tree.entries {
        let name = name_of(key);
        if name == b"libc.so.6" && (node.is_file() || node.target.is_some()) {
            let Some((key, _)) = tree.file(&shown(key)) else { continue };
            let bytes = tree.read_key(&key, MAX_LIBC).unwrap_or_default();
            return Some(Libc { kind: "glibc", version: glibc_version(&bytes), path: shown(&key) });
        }
        if name.starts_with(b"ld-musl-") && name.ends_with(b".so.1") && !node.is_dir() {
            musl.get_or_insert_with(|| shown(key));
        }
    }
    musl.map(|path| Libc { kind: "musl", version: None, path })
}

/// `GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.`
fn glibc_version(bytes: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b" release version ";
    let at = bytes.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let version: Vec<u8> =
        bytes[at..].iter().copied().take_while(|b| b.is_ascii_digit() || *b == b'.').take(16).collect();
    let version = String::from_utf8(version).ok()?;
    Some(version.trim_end_matches('.').to_owned()).filter(|version| !version.is_empty())
}

/// By the names that the ABIs of all processors have for it.
fn loader(tree: &Tree) -> Option<String> {
    let known = |name: &[u8]| {
        [&b"ld-linux"[..], b"ld-musl-", b"ld64.so.", b"ld.so.1"].iter().any(|start| name.starts_with(start))
            && !name.ends_with(b".path")
    };
    for dir in ["/lib64", "/lib"] {
        let Some(key) = tree.resolve(dir.as_bytes()) else { continue };
        let mut inside = tree.children(&key).map(|(key, _)| name_of(key)).filter(|name| known(name));
        let path = inside.next().map(|name| format!("{dir}/{}", String::from_utf8_lossy(name)));
        if let Some(path) = path.filter(|path| tree.file(path).is_some()) {
            return Some(path);
        }
    }
    None
}

fn certificates(tree: &Tree, path: &str) -> Option<Certificates> {
    let text = text(tree, path)?;
    let begins = |line: &&str| line.starts_with("-----BEGIN ") && line.contains("CERTIFICATE-----");
    Some(Certificates { path: path.to_owned(), count: text.lines().filter(begins).count() })
}

/// Files whose names are of places and not of tables, each once: posix/ and right/ have them again.
fn time_zones(tree: &Tree) -> usize {
    let Some(dir) = tree.resolve(b"/usr/share/zoneinfo") else { return 0 };
    let zone = |key: &[u8]| {
        let name = name_of(key);
        let again = [&b"posix\0"[..], b"right\0"]
            .iter()
            .any(|copy| key.get(dir.len() + 1..).is_some_and(|k| k.starts_with(copy)));
        name.first().is_some_and(u8::is_ascii_uppercase) && !name.contains(&b'.') && !again
    };
    tree.below(&dir).filter(|(key, node)| !node.is_dir() && zone(key)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_short_files_say_is_understood() {
        let text = "# x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nVARIANT=\nID=debian\n";
        assert_eq!(value(text, "ID").as_deref(), Some("debian"));
        assert_eq!(value(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!((value(text, "VARIANT"), value(text, "VERSION")), (None, None));
        assert_eq!(
            ["root:x:0:0::/:/bin/sh", "# no:x:0:0", "", "x", ":x:0:0"].map(is_user),
            [true, false, false, false, false]
        );
        let library = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright";
        assert_eq!(glibc_version(library).as_deref(), Some("2.36"));
        assert_eq!(glibc_version(b" release version x"), None);
    }
}
