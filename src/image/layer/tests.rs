//! Layers as an attacker or an odd tool would write them. Beside each tree lies a canary that must not change.

use super::*;
use crate::id::Digest;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tar::{EntryType, Header};

/// A tar archive, written byte by byte, for the tar crate refuses to write what we must be able to read.
#[derive(Default)]
pub(crate) struct Tar(pub Vec<u8>);

impl Tar {
    fn block(&mut self, kind: EntryType, path: &[u8], link: &[u8], data: &[u8], set: &dyn Fn(&mut Header)) {
        let mut header = Header::new_gnu();
        for (name, field) in [(path, b'L'), (link, b'K')] {
            if name.len() > 100 {
                self.block(EntryType::new(field), b"././@LongLink", b"", &[name, b"\0"].concat(), &|_| {});
            }
        }
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        gnu.linkname[..link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        set(&mut header);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
    pub(crate) fn file(mut self, path: &str, data: &str) -> Tar {
        self.block(EntryType::Regular, path.as_bytes(), b"", data.as_bytes(), &|_| {});
        self
    }
    pub(crate) fn bytes(mut self, path: &str, data: &[u8]) -> Tar {
        self.block(EntryType::Regular, path.as_bytes(), b"", data, &|_| {});
        self
    }
    pub(crate) fn dir(mut self, path: &str) -> Tar {
        self.block(EntryType::Directory, path.as_bytes(), b"", b"", &|_| {});
        self
    }
    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Tar {
        self.block(EntryType::Symlink, path.as_bytes(), target.as_bytes(), b"", &|_| {});
        self
    }
    fn link(mut self, path: &str, target: &str) -> Tar {
        self.block(EntryType::Link, path.as_bytes(), target.as_bytes(), b"", &|_| {});
        self
    }
    fn raw(mut self, kind: EntryType, path: &[u8], data: &[u8], set: impl Fn(&mut Header)) -> Tar {
        self.block(kind, path, b"", data, &set);
        self
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let data = pax::tests::write(records);
        self.raw(EntryType::XHeader, b"pax", &data, |_| {})
    }
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A place for layers, with a canary above and beside them.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("canary"), "alive").unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Place(dir)
    }
    fn layer(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn host(&self, name: &str) -> HostPath {
        HostPath::parse(self.layer(name).to_str().unwrap()).unwrap()
    }
    fn unpack(&self, name: &str, tar: Tar, below: &[&str]) -> Result<Unpacked> {
        fs::create_dir(self.layer(name)).unwrap();
        let below: Vec<HostPath> = below.iter().map(|name| self.host(name)).collect();
        unpack_bytes(&tar.end(), &self.host(name), &below)
    }
    /// All layers in one directory.
    fn unpack_flat(&self, name: &str, tars: Vec<Tar>) -> Result<()> {
        fs::create_dir(self.layer(name)).unwrap();
        let blobs: Vec<Vec<u8>> = tars.into_iter().map(Tar::end).collect();
        let all = blobs.iter().map(|blob| Ok(Box::new(&blob[..]) as Blob<'_>));
        super::unpack_flat(Box::new(all), blobs.len(), &self.host(name), |_, sums| sums.map(drop))
    }
    /// Nothing but the layers has changed.
    fn check(&self) {
        assert_eq!(fs::read_to_string(self.0.path().join("canary")).unwrap(), "alive");
        assert_eq!(fs::read_dir(self.0.path().join("outside")).unwrap().count(), 0);
    }
}

fn unpack_bytes(blob: &[u8], dir: &HostPath, below: &[HostPath]) -> Result<Unpacked> {
    unpack(blob, dir, &|| Ok(below.to_vec()))
}

fn root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: unpacking layers needs root");
    }
    is_root
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path:?}: {e}"))
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn opaque(path: &Path) -> bool {
    is_opaque(&crate::sys::at::open_root(path).unwrap()).unwrap()
}

#[test]
fn files_keep_what_the_archive_says_of_them() {
    if !root() {
        return;
    }
    let place = Place::new();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let tar = Tar::default()
        .pax(&[("mtime", b"1.000000007")])
        .dir("d/")
        .raw(EntryType::Regular, b"d/su", b"x", |h| {
            h.set_mode(0o4751);
            h.set_uid(1234);
            h.set_gid(70000);
        })
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"a\nb"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("mtime", b"1234567890.123456789"),
        ])
        .file("d/cap", "y")
        .raw(EntryType::Fifo, b"fifo", b"", |h| h.set_mode(0o600))
        .raw(EntryType::Char, b"null", b"", |h| {
            h.set_device_major(1).unwrap();
            h.set_device_minor(3).unwrap();
        })
        .symlink("abs", "/d/cap")
        .link("hard", "/d/cap");
    let unpacked = place.unpack("l", tar, &[]).unwrap();
    assert!(!unpacked.looked_below);
    let l = place.layer("l");
    let su = fs::metadata(l.join("d/su")).unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid()), (0o4751, 1234, 70000));
    let cap = fs::File::open(l.join("d/cap")).unwrap();
    assert_eq!((cap.metadata().unwrap().mtime(), cap.metadata().unwrap().mtime_nsec()), (1234567890, 123456789));
    let mut names = crate::sys::at::xattr_names(&cap).unwrap();
    names.sort();
    assert_eq!(names, [b"security.capability".to_vec(), b"user.note".to_vec()]);
    assert_eq!(crate::sys::at::xattr(&cap, b"security.capability").unwrap().unwrap(), capability);
    assert_eq!(crate::sys::at::xattr(&cap, b"user.note").unwrap().unwrap(), b"a\nb");
    let d = fs::metadata(l.join("d")).unwrap();
    assert_eq!((d.mtime(), d.mtime_nsec()), (1, 7));
    assert!(fs::metadata(l.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(l.join("null")).unwrap().rdev(), libc::makedev(1, 3));
    assert_eq!(fs::metadata(l.join("hard")).unwrap().ino(), cap.metadata().unwrap().ino());
    assert_eq!(fs::read_link(l.join("abs")).unwrap(), Path::new("/d/cap"));
    place.check();
}

#[test]
fn nothing_is_written_outside() {
    if !root() {
        return;
    }
    let outside = |place: &Place| place.layer("outside").to_str().unwrap().to_owned();
    type Make = fn(&str) -> Tar;
    let cases: &[(&str, Make)] = &[
        ("link to the host, then through it", |o| Tar::default().symlink("l", o).file("l/x", "evil")),
        ("link upwards", |_| Tar::default().symlink("l", "../outside").file("l/x", "evil")),
        ("chain", |o| Tar::default().symlink("a", "b/c").dir("b").symlink("b/c", o).file("a/x", "evil")),
        ("dots", |_| Tar::default().file("../outside/x", "evil").file("a/../../outside/y", "evil")),
        ("absolute", |o| Tar::default().file(&format!("{o}/x"), "evil")),
        ("write over a link's target", |o| {
            Tar::default().symlink("canary", &format!("{o}/../canary")).file("canary", "evil")
        }),
        ("whiteout through a link", |o| Tar::default().symlink("l", &format!("{o}/..")).file("l/.wh.canary", "")),
        ("opaque through a link", |o| Tar::default().symlink("l", o).file("l/.wh..wh..opq", "")),
        ("directory over a link", |o| Tar::default().symlink("l", o).dir("l").file("l/x", "evil")),
        ("mode through a link", |o| {
            Tar::default().symlink("l", o).raw(EntryType::Directory, b"l/.", b"", |h| h.set_mode(0o777))
        }),
    ];
    for (what, make) in cases {
        let place = Place::new();
        let before = fs::metadata(place.layer("outside")).unwrap().mode();
        let _ = place.unpack("l", make(&outside(&place)), &[]);
        assert!(!place.layer("l").join("canary").is_symlink(), "{what}");
        place.check();
        assert_eq!(fs::metadata(place.layer("outside")).unwrap().mode(), before, "{what}");
    }
}

#[test]
fn hard_links_stay_inside() {
    if !root() {
        return;
    }
    for (what, tar) in [
        ("outside", Tar::default().link("h", "../canary")),
        ("through a link", Tar::default().symlink("l", "..").link("h", "l/canary")),
        ("to nothing", Tar::default().link("h", "missing")),
        ("to itself", Tar::default().link("h", "h")),
        ("to a directory", Tar::default().dir("d").link("h", "d")),
        ("to the root", Tar::default().link("h", "/")),
    ] {
        let place = Place::new();
        assert!(place.unpack("l", tar, &[]).is_err(), "{what}");
        place.check();
    }
    let place = Place::new();
    let tar = Tar::default().file("f", "x").link("f", "f").symlink("s", "nowhere").link("t", "s").link("g", "/./f");
    place.unpack("l", tar, &[]).unwrap();
    assert_eq!(read(&place.layer("l").join("g")), "x");
    assert_eq!(fs::read_link(place.layer("l").join("t")).unwrap(), Path::new("nowhere"));
}

#[test]
fn links_inside_are_followed() {
    if !root() {
        return;
    }
    let place = Place::new();
    place.unpack("base", Tar::default().dir("run").dir("var").symlink("var/run", "/run"), &[]).unwrap();
    let same = Tar::default().dir("run").symlink("var/run", "/run").file("var/run/a", "1").file("var/run/../b", "2");
    place.unpack("same", same, &[]).unwrap();
    assert_eq!(read(&place.layer("same/run/a")), "1");
    assert_eq!(read(&place.layer("same/b")), "2");
    // the link is in the layer below
    let next = place.unpack("next", Tar::default().file("var/run/c", "3"), &["base"]).unwrap();
    assert_eq!(read(&place.layer("next/run/c")), "3");
    assert!(next.looked_below && !place.layer("next/var/run").exists());
    let looped = Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(place.unpack("looped", looped, &[]).is_err());
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_else() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = Tar::default().file("gone", "").file("kept", "").dir("d").file("d/old", "").dir("e").file("e/old", "");
    place.unpack("base", base.dir("f").file("f/old", ""), &[]).unwrap();
    let tar = Tar::default()
        .file(".wh.gone", "")
        .file(".wh.never", "")
        .dir("d")
        .file("d/new", "")
        .file("d/.wh..wh..opq", "")
        .file(".wh.e", "")
        .dir("e")
        .file("e/new", "")
        .dir("f")
        .file("f/new", "")
        .file(".wh.f", "")
        .file(".wh..wh.plnk", "")
        .file("kept", "new")
        .file(".wh.kept", "");
    place.unpack("l", tar, &["base"]).unwrap();
    let l = place.layer("l");
    assert!(is_whiteout(&l.join("gone")));
    assert!(!l.join("never").exists() && !is_whiteout(&l.join("never")));
    for dir in ["d", "e", "f"] {
        assert!(opaque(&l.join(dir)) && l.join(dir).join("new").exists(), "{dir}");
    }
    assert_eq!(read(&l.join("kept")), "new");
    assert_eq!(fs::read_dir(&l).unwrap().count(), 5);
    for bad in [".wh.", ".wh..", ".wh...", "d/.wh."] {
        let place = Place::new();
        assert!(place.unpack("l", Tar::default().file(bad, ""), &[]).is_err(), "{bad}");
        place.check();
    }
}

#[test]
fn a_whiteout_counts_for_what_comes_after_it() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = Tar::default().raw(EntryType::Directory, b"d/", b"", |h| h.set_mode(0o700)).file("d/old", "");
    let base = base.dir("to").symlink("l", "to").file("f", "");
    place.unpack("base", base.dir("e").file("e/old", ""), &[]).unwrap();
    // a directory that the layer takes for granted is then none of the layers below, nor is their link one to follow
    let upper = Tar::default().file(".wh.d", "").file("d/new", "").file(".wh.l", "").file("l/new", "");
    // and what comes to stand in its place hides as much
    let upper = upper.file(".wh.e", "").dir("e").file("e/.wh.old", "").file("e/new", "").file(".wh.f", "");
    place.unpack("l", upper.file("f/x", "").file("gone/.wh.a", "").symlink("gone", "to"), &["base"]).unwrap();
    let l = place.layer("l");
    for dir in ["d", "l", "e", "f"] {
        assert!(opaque(&l.join(dir)), "{dir}");
        assert_eq!(fs::read_dir(l.join(dir)).unwrap().count(), 1, "{dir}");
        assert_eq!(fs::symlink_metadata(l.join(dir)).unwrap().mode() & 0o7777, 0o755, "{dir}");
    }
    assert!(!l.join("to").exists());
    assert_eq!(fs::read_link(l.join("gone")).unwrap(), Path::new("to"));
    let linked = Tar::default().file(".wh.f", "").link("to/x", "f");
    let error = place.unpack("m", linked, &["base"]).unwrap_err();
    assert!(error.message.contains("which does not exist"), "{error}");
    place.check();
}

#[test]
fn whiteouts_without_end_are_made_on_the_way() {
    if !root() {
        return;
    }
    let place = Place::new();
    place.unpack("base", Tar::default().file("first", "").dir("d").file("d/last", ""), &[]).unwrap();
    let long = "n".repeat(240);
    let mut tar = Tar::default().dir("d").file(".wh.first", "");
    for number in 0..20_000 {
        tar = tar.file(&format!("d/.wh.{long}{number}"), "");
    }
    let blob = tar.file("d/.wh.last", "").end();
    let (read, when_asked) = (AtomicU64::new(0), std::cell::Cell::new(0));
    let below = || {
        when_asked.set(read.load(Ordering::Relaxed));
        Ok(vec![place.host("base")])
    };
    fs::create_dir(place.layer("l")).unwrap();
    super::unpack(Taken { inner: &blob[..], taken: &read }, &place.host("l"), &below).unwrap();
    assert!(when_asked.get() < blob.len() as u64 / 10 * 9, "they were all remembered");
    let d = place.layer("l/d");
    assert!(is_whiteout(&place.layer("l/first")) && is_whiteout(&d.join("last")));
    assert_eq!(fs::read_dir(&d).unwrap().count(), 1);
    assert_eq!(fs::metadata(&d).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn a_layer_asks_for_those_below_only_where_it_must() {
    if !root() {
        return;
    }
    let place = Place::new();
    let asked = std::cell::Cell::new(0);
    let below = || {
        asked.set(asked.get() + 1);
        Ok(Vec::new())
    };
    let unpack = |name: &str, tar: Tar| {
        fs::create_dir(place.layer(name)).unwrap();
        super::unpack(&tar.end()[..], &place.host(name), &below).unwrap().looked_below
    };
    assert!(!unpack("whole", Tar::default().dir("d").file("d/x", "").link("l", "d/x").file("d/.wh..wh..opq", "")));
    assert_eq!(asked.take(), 0);
    assert!(unpack("hides", Tar::default().dir("d").file("d/.wh.a", "").file("d/.wh.b", "").file("d/x", "")));
    assert_eq!(asked.take(), 1, "once for all whiteouts of a directory");
}

#[test]
fn a_failure_in_any_layer_is_the_whole_ones() {
    if !root() {
        return;
    }
    let place = Place::new();
    let bad = || Tar::default().file("..", "");
    for (number, layers) in
        [vec![bad(), Tar::default()], vec![Tar::default().file("x", ""), bad()]].into_iter().enumerate()
    {
        let error = place.unpack_flat(&number.to_string(), layers).unwrap_err();
        assert!(error.message.contains("ends in"), "{error}");
    }
    place.unpack_flat("none", Vec::new()).unwrap();
}

#[test]
fn directories_keep_their_times_whatever_is_done_in_them() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = || Tar::default().pax(&[("mtime", b"7.5")]).dir("d").dir("d/e").file("d/e/x", "").file("d/y", "");
    let upper =
        || Tar::default().file("d/z", "").file("d/e/.wh.x", "").link("d/l", "d/y").file("d/y", "2").file("d/e/w", "");
    let time = |path: &str| {
        let m = fs::metadata(place.layer(path)).unwrap();
        (m.mtime(), m.mtime_nsec())
    };
    place.unpack_flat("flat", vec![base(), upper()]).unwrap();
    place.unpack("base", base(), &[]).unwrap();
    place.unpack("over", upper(), &["base"]).unwrap();
    for layer in ["flat", "base", "over"] {
        assert_eq!(time(&format!("{layer}/d")), (7, 500_000_000), "{layer}");
        assert_eq!(time(&format!("{layer}/d/e")), (1_000_000_000, 0), "{layer}");
    }
}

#[test]
fn a_default_acl_of_the_host_is_not_inherited() {
    if !root() {
        return;
    }
    let place = Place::new();
    // as include/uapi/linux/posix_acl_xattr.h has it: user::rwx, user:7:rwx, group::r-x, mask::rwx, other::r-x
    let entries: [(u16, u16, u32); 5] = [(1, 7, !0), (2, 7, 7), (4, 5, !0), (16, 7, !0), (32, 5, !0)];
    let entry = |(tag, perm, id): &(u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes()[..], &id.to_le_bytes()[..]].concat()
    };
    let acl = [2u32.to_le_bytes().to_vec(), entries.iter().flat_map(entry).collect()].concat();
    crate::sys::at::set_xattr(&fs::File::open(place.layer("")).unwrap(), b"system.posix_acl_default", &acl).unwrap();
    let tar = || Tar::default().dir("d").file("d/f", "").raw(EntryType::Directory, b"e", b"", |h| h.set_mode(0o700));
    place.unpack("l", tar(), &[]).unwrap();
    place.unpack_flat("flat", vec![tar()]).unwrap();
    for (path, mode) in [("d", 0o755), ("d/f", 0o644), ("e", 0o700)] {
        for layer in ["l", "flat"] {
            let file = fs::File::open(place.layer(layer).join(path)).unwrap();
            let names = crate::sys::at::xattr_names(&file).unwrap();
            assert!(!names.iter().any(|name| name.starts_with(b"system.")), "{layer}/{path}: {names:?}");
            assert_eq!(file.metadata().unwrap().mode() & 0o7777, mode, "{layer}/{path}");
        }
    }
}

#[test]
fn the_last_member_of_a_name_wins() {
    if !root() {
        return;
    }
    let place = Place::new();
    let tar = Tar::default()
        .file("a", "file")
        .dir("a")
        .file("a/x", "in dir")
        .dir("b")
        .file("b/x", "")
        .file("b", "now a file")
        .dir("c")
        .file("c/x", "")
        .symlink("c", "a")
        .file("c/y", "through c")
        .file("d", "1")
        .file("d", "2")
        .file("e", "file")
        .file("e/x", "the file became a directory")
        .symlink("g", "a")
        .dir("g")
        .file("g/z", "");
    place.unpack("l", tar, &[]).unwrap();
    let l = place.layer("l");
    assert!(opaque(&l.join("a")) && opaque(&l.join("e")) && opaque(&l.join("g")));
    assert_eq!(read(&l.join("b")), "now a file");
    assert_eq!(read(&l.join("a/y")), "through c");
    assert_eq!(read(&l.join("d")), "2");
    assert!(l.join("e/x").exists() && !l.join("a/z").exists());
}

#[test]
fn missing_parents_are_those_of_the_layers_below() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = Tar::default().raw(EntryType::Directory, b"tmp/", b"", |h| {
        h.set_mode(0o1777);
        h.set_gid(7);
    });
    place.unpack("base", base, &[]).unwrap();
    place.unpack("l", Tar::default().file("tmp/a/x", ""), &["base"]).unwrap();
    let tmp = fs::metadata(place.layer("l/tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.gid(), tmp.mtime()), (0o1777, 7, 1_000_000_000));
    assert_eq!(fs::metadata(place.layer("l/tmp/a")).unwrap().permissions().mode() & 0o7777, 0o755);
    // a hidden directory has nothing to give
    place.unpack("w", Tar::default().file(".wh.tmp", ""), &["base"]).unwrap();
    place.unpack("m", Tar::default().file("tmp/x", ""), &["base", "w"]).unwrap();
    assert_eq!(fs::metadata(place.layer("m/tmp")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_hard_link_reaches_a_file_of_a_layer_below() {
    if !root() {
        return;
    }
    let place = Place::new();
    let base = Tar::default().dir("bin").raw(EntryType::Regular, b"bin/sh", b"shell", |h| h.set_mode(0o4755));
    place.unpack("base", base, &[]).unwrap();
    place.unpack("mid", Tar::default().file("x", ""), &["base"]).unwrap();
    let unpacked = place.unpack("l", Tar::default().link("ash", "/bin/sh"), &["base", "mid"]).unwrap();
    assert!(unpacked.looked_below);
    let (ash, sh) = (fs::metadata(place.layer("l/ash")).unwrap(), fs::metadata(place.layer("l/bin/sh")).unwrap());
    assert_eq!(ash.ino(), sh.ino());
    assert_eq!(ash.mode() & 0o7777, 0o4755);
    assert_eq!(read(&place.layer("l/ash")), "shell");
    place.unpack("hidden", Tar::default().file("bin/.wh.sh", ""), &["base"]).unwrap();
    assert!(place.unpack("m", Tar::default().link("ash", "/bin/sh"), &["base", "hidden"]).is_err());
}

#[test]
fn odd_names_are_taken_or_refused_by_the_kernel() {
    if !root() {
        return;
    }
    let place = Place::new();
    let long = "n".repeat(255);
    let tar = Tar::default()
        .raw(EntryType::Regular, b"\xff\xfe", b"1", |_| {})
        .raw(EntryType::Regular, b"a\x01\n\x7f", b"2", |_| {})
        .file(&long, "3")
        .file("./b//c/./d", "4")
        .dir("./");
    place.unpack("l", tar, &[]).unwrap();
    assert_eq!(read(&place.layer("l").join(&long)), "3");
    assert_eq!(read(&place.layer("l/b/c/d")), "4");
    for bad in [&"n".repeat(256), "a/..", "..", "/"] {
        let place = Place::new();
        let error = place.unpack("l", Tar::default().file(bad, ""), &[]).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Image, "{bad}: {error}");
    }
    let place = Place::new();
    assert!(place.unpack("l", Tar::default().pax(&[("path", b"a\0b")]).file("x", ""), &[]).is_err());
}

#[test]
fn deep_and_wide_trees_take_linear_time() {
    if !root() {
        return;
    }
    let place = Place::new();
    let start = std::time::Instant::now();
    let mut path = String::new();
    let mut tar = Tar::default();
    for _ in 0..3000 {
        path.push_str("d/");
        tar = tar.dir(&path);
    }
    for i in 0..2000 {
        tar = tar.file(&format!("{path}{i}"), "");
        tar = tar.file(&format!("top{i}"), "");
    }
    for i in 0..20_000 {
        tar = tar.dir(&format!("w{i}/"));
    }
    place.unpack("l", tar, &[]).unwrap();
    assert_eq!(fs::read_dir(place.layer("l")).unwrap().count(), 22_001);
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
    let deep = place.unpack("missing", Tar::default().file(&format!("{path}x"), ""), &["l"]);
    deep.unwrap();
    for layer in ["l", "missing"] {
        crate::sys::tree::remove(&place.layer(layer)).unwrap();
    }
}

#[test]
fn sparse_files_stay_sparse() {
    if !root() {
        return;
    }
    let place = Place::new();
    let tar = Tar::default()
        .raw(EntryType::GNUSparse, b"old", b"0123456789", |h| {
            let gnu = h.as_gnu_mut().unwrap();
            octal(&mut gnu.sparse[0].offset, 4096);
            octal(&mut gnu.sparse[0].numbytes, 10);
            octal(&mut gnu.realsize, 1 << 30);
        })
        .pax(&[("GNU.sparse.map", b"1048576,3"), ("GNU.sparse.size", b"2097152"), ("GNU.sparse.name", b"pax01")])
        .file("x", "abc")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"pax10"),
            ("GNU.sparse.realsize", b"8192"),
        ])
        .file("GNUSparseFile.1/x", &format!("{:\0<512}end", "1\n8189\n3\n"))
        .file("zeros", &"\0".repeat(1 << 20));
    place.unpack("l", tar, &[]).unwrap();
    let l = place.layer("l");
    for (name, size, at, text) in [
        ("old", 1 << 30, 4096, "0123456789"),
        ("pax01", 2 << 20, 1 << 20, "abc"),
        ("pax10", 8192, 8189, "end"),
        ("zeros", 1 << 20, 0, ""),
    ] {
        let metadata = fs::metadata(l.join(name)).unwrap();
        assert_eq!(metadata.len(), size, "{name}");
        assert!(metadata.blocks() <= 16, "{name}: {}", metadata.blocks());
        let mut bytes = vec![0; text.len()];
        std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(l.join(name)).unwrap(), &mut bytes, at).unwrap();
        assert_eq!(bytes, text.as_bytes(), "{name}");
    }
}

fn octal(field: &mut [u8; 12], number: u64) {
    field.copy_from_slice(format!("{number:011o}\0").as_bytes());
}

#[test]
fn archives_that_lie_about_sizes_are_refused() {
    if !root() {
        return;
    }
    let eight_exabytes = Tar::default().raw(EntryType::GNUSparse, b"big", b"x", |h| {
        let gnu = h.as_gnu_mut().unwrap();
        octal(&mut gnu.sparse[0].offset, 0);
        octal(&mut gnu.sparse[0].numbytes, 1);
        gnu.realsize = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
    });
    let overlapping = Tar::default().pax(&[("GNU.sparse.map", b"0,2,1,1"), ("GNU.sparse.size", b"9")]).file("x", "abc");
    let too_much = Tar::default().pax(&[("GNU.sparse.map", b"0,9"), ("GNU.sparse.size", b"9")]).file("x", "abc");
    let pax_size = Tar::default().pax(&[("size", b"18446744073709551615")]).file("x", "abc");
    let long_name = Tar::default().raw(EntryType::GNULongName, b"L", b"", |h| h.set_size(1 << 40));
    let dangling = Tar::default().pax(&[("path", b"x")]);
    let cut = Tar::default().raw(EntryType::Regular, b"x", b"", |h| h.set_size(5000));
    let checksum = Tar(vec![7; 512]);
    for (what, tar) in [
        ("8 EB", eight_exabytes),
        ("overlapping", overlapping),
        ("too much", too_much),
        ("pax size", pax_size),
        ("long name", long_name),
        ("dangling", dangling),
        ("cut", cut),
        ("checksum", checksum),
    ] {
        let place = Place::new();
        let error = place.unpack("l", tar, &[]).expect_err(what);
        assert_eq!(error.kind, crate::error::Kind::Image, "{what}: {error}");
        assert_eq!(error.errno, None, "{what}: {error}");
    }
}

#[test]
fn both_digests_cover_what_follows_the_archive() {
    if !root() {
        return;
    }
    let place = Place::new();
    let mut bytes = Tar::default().file("x", "1").end();
    bytes.extend([0; 5000]);
    fs::create_dir(place.layer("l")).unwrap();
    let unpacked = unpack_bytes(&bytes, &place.host("l"), &[]).unwrap();
    assert_eq!(unpacked.sums, Sums { digest: Digest::of(&bytes), diff_id: Digest::of(&bytes) });
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(150))]
    /// Members of every kind under a few colliding names: whatever they do to each other, it stays inside.
    #[test]
    fn any_sequence_of_members_stays_inside(
        members in proptest::collection::vec((0..7u8, 0..12usize, 0..12usize), 1..25)
    ) {
        if root() {
            let names = [
                "a", "a/b", "a/b/c", "l", "l/x", "../canary", "/a", "a/../l", ".wh.a", "l/.wh..wh..opq", "a/.wh.b", "l/../../outside",
            ];
            let place = Place::new();
            let tar = |members: &[(u8, usize, usize)]| members.iter().fold(Tar::default(), |tar, (kind, name, other)| {
                let (name, other) = (names[*name], names[*other]);
                match kind {
                    0 | 1 => tar.file(name, "evil"),
                    2 | 3 => tar.dir(name),
                    4 => tar.symlink(name, other),
                    5 => tar.symlink(name, place.0.path().to_str().unwrap()),
                    _ => tar.link(name, other),
                }
            });
            fs::create_dir(place.layer("base")).unwrap();
            let _ = place.unpack("l", tar(&members), &["base"]);
            let (lower, upper) = members.split_at(members.len() / 2);
            let _ = place.unpack_flat("flat", vec![tar(lower), tar(upper)]);
            place.check();
            assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 5);
        }
    }
}
