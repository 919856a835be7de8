//! What a .deb file holds: an ar archive of two tar archives (deb(5)). Read in-process; none of its scripts ever runs.

use crate::failed;
use minirun::error::{Error, Kind, Result};
use minirun::image::assemble::{Content, Entry, EntryKind, Time};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a package says about itself.
#[derive(Debug)]
pub struct About {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The file `control`, as it is.
    pub control: Vec<u8>,
    /// The file `md5sums`, as it is; empty where the package has none.
    pub md5sums: Vec<u8>,
}

/// A package, unpacked into a temporary file that goes when its entries go.
#[derive(Debug)]
pub struct Package {
    pub about: About,
    /// What it brings, below the root; the root itself is left out.
    pub entries: Vec<Entry>,
}

/// More than any control file has; a package that claims more is not one.
const MAX_CONTROL: u64 = 16 << 20;

/// Reads the package file at `path`.
pub fn open(path: &Path) -> Result<Package> {
    let mut file = File::open(path).map_err(|e| failed("opening", path, &e))?;
    let read = members(&mut file).and_then(|members| {
        let entries = entries(unpack(&file, member(&members, "data.tar")?)?)?;
        // policy 10.6: packages have no device files; they would be made by scripts
        match entries.iter().find(|entry| is_node(entry)) {
            Some(odd) => Err(io::Error::other(format!("{} is of a kind packages do not have", odd.path.display()))),
            None => Ok(Package { about: read_about(&file, &members)?, entries }),
        }
    });
    read.map_err(|e| broken(path, &e))
}

/// Reads what the package file at `path` says about itself, and nothing of what it brings.
pub fn about(path: &Path) -> Result<About> {
    let mut file = File::open(path).map_err(|e| failed("opening", path, &e))?;
    members(&mut file).and_then(|members| read_about(&file, &members)).map_err(|e| broken(path, &e))
}

/// Reads a whole tar archive as mmdebstrap writes it; `path` is what it is called.
pub fn entries_of_archive(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).map_err(|e| failed("opening", path, &e))?;
    entries(file).map_err(|e| failed("reading", path, &e))
}

fn broken(path: &Path, e: &io::Error) -> Error {
    let message = format!("{} is not a Debian package that can be read: {e}", path.display());
    Error { kind: Kind::Image, message, hint: Some("fetch it again".into()), errno: e.raw_os_error() }
}

fn member<'a>(members: &'a [Member], stem: &str) -> io::Result<&'a Member> {
    let found = members.iter().find(|member| member.name.starts_with(stem));
    found.ok_or_else(|| io::Error::other(format!("it has no member {stem}")))
}

fn read_about(file: &File, members: &[Member]) -> io::Result<About> {
    let (control, md5sums) = control_files(unpack(file, member(members, "control.tar")?)?)?;
    let field = |name: &str| control_field(&control, name);
    let (name, version, architecture) = (field("Package")?, field("Version")?, field("Architecture")?);
    Ok(About { name, version, architecture, control, md5sums })
}

fn is_node(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo)
}

/// One file of the ar archive: where it lies.
struct Member {
    name: String,
    offset: u64,
    length: u64,
}

/// The headers of an ar archive: 60 bytes each, the size as decimal text at 48, members padded to even offsets.
fn members(file: &mut File) -> io::Result<Vec<Member>> {
    const MAGIC: &[u8] = b"!<arch>\n";
    const HEADER: usize = 60;
    let end = file.metadata()?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(io::Error::other("it does not begin with !<arch>"));
    }
    let mut list = Vec::new();
    let mut offset = MAGIC.len() as u64;
    while offset + HEADER as u64 <= end {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut header)?;
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
        let length: u64 = text(48..58).parse().map_err(|_| io::Error::other("a member has no size"))?;
        let name = text(0..16).trim_end_matches('/').to_owned();
        offset += HEADER as u64;
        if header[58..] != *b"`\n" || length > end - offset {
            return Err(io::Error::other(format!("member {name:?} is cut off")));
        }
        list.push(Member { name, offset, length });
        offset += length + length % 2;
    }
    Ok(list)
}

/// A member's tar archive, uncompressed in a temporary file without a name.
fn unpack(file: &File, member: &Member) -> io::Result<File> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(member.offset))?;
    let packed = BufReader::new(file.take(member.length));
    let mut tar: Box<dyn Read> = match member.name.rsplit_once(".tar").map(|(_, ending)| ending) {
        Some("") => Box::new(packed),
        Some(".gz") => Box::new(flate2::read::GzDecoder::new(packed)),
        Some(".xz") => Box::new(lzma_rust2::XzReader::new(packed, true)),
        Some(".zst") => Box::new(zstd::Decoder::with_buffer(packed)?),
        ending => return Err(io::Error::other(format!("member {} is of an unknown kind: {ending:?}", member.name))),
    };
    let mut unpacked = tempfile::tempfile()?;
    io::copy(&mut tar, &mut unpacked)?;
    unpacked.rewind()?;
    Ok(unpacked)
}

/// `control` and `md5sums`.
fn control_files(tar: File) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut control, mut md5sums) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(BufReader::new(tar)).entries()? {
        let entry = entry?;
        let wanted = match entry.path()?.file_name().and_then(|name| name.to_str()) {
            Some("control") => &mut control,
            Some("md5sums") => &mut md5sums,
            Some(_) | None => continue,
        };
        entry.take(MAX_CONTROL).read_to_end(wanted)?;
    }
    Ok((control, md5sums))
}

/// The value of a field of one line (deb-control(5)).
fn control_field(control: &[u8], name: &str) -> io::Result<String> {
    let control = String::from_utf8_lossy(control);
    let mut lines = control.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value.trim().to_owned())
        .ok_or_else(|| io::Error::other(format!("its control file has no {name}")))
}

/// What a tar archive holds; its files stay parts of it.
fn entries(tar: File) -> io::Result<Vec<Entry>> {
    let file = Arc::new(tar);
    let mut list = Vec::new();
    for entry in tar::Archive::new(BufReader::new(file.as_ref())).entries()? {
        let mut entry = entry?;
        let path = below_root(&entry.path()?)?;
        if path.as_os_str().is_empty() {
            continue;
        }
        let xattrs = xattrs(&mut entry)?;
        let header = entry.header();
        let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner is no 32-bit number"));
        let seconds = i64::try_from(header.mtime()?).map_err(io::Error::other)?;
        list.push(Entry {
            kind: kind(&entry, &file)?,
            mode: header.mode()? & 0o7777,
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            mtime: Time::from_seconds(seconds),
            xattrs,
            path,
        });
    }
    Ok(list)
}

/// GNU tar's `--xattrs` writes them under star's key.
fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let name = record.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."));
        found.extend(name.map(|name| (name.to_owned(), record.value_bytes().to_vec())));
    }
    Ok(found)
}

fn kind<R: Read>(entry: &tar::Entry<'_, R>, file: &Arc<File>) -> io::Result<EntryKind> {
    let target = || entry.link_name()?.map(PathBuf::from).ok_or_else(|| io::Error::other("a link leads nowhere"));
    let number = |part: io::Result<Option<u32>>| part?.ok_or_else(|| io::Error::other("a device has no number"));
    let header = entry.header();
    match header.entry_type() {
        tar::EntryType::Regular => Ok(EntryKind::File(Content::Slice {
            file: file.clone(),
            offset: entry.raw_file_position(),
            length: entry.size(),
        })),
        tar::EntryType::Directory => Ok(EntryKind::Directory),
        tar::EntryType::Symlink => Ok(EntryKind::Symlink(target()?)),
        tar::EntryType::Link => Ok(EntryKind::Hardlink(below_root(&target()?)?)),
        tar::EntryType::Fifo => Ok(EntryKind::Fifo),
        tar::EntryType::Char => {
            Ok(EntryKind::CharDevice { major: number(header.device_major())?, minor: number(header.device_minor())? })
        }
        tar::EntryType::Block => {
            Ok(EntryKind::BlockDevice { major: number(header.device_major())?, minor: number(header.device_minor())? })
        }
        other => Err(io::Error::other(format!("{} is of an unknown kind: {other:?}", entry.path()?.display()))),
    }
}

/// `./usr/bin` and `/usr/bin` are `usr/bin`; a way out is refused.
fn below_root(path: &Path) -> io::Result<PathBuf> {
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other(format!("{} leads out of the root", path.display())));
            }
        }
    }
    Ok(below)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    /// A package made by hand; `data` are paths with their text, a path with a slash at its end is a directory.
    pub(crate) fn deb(name: &str, version: &str, data: &[(&str, &str)]) -> Vec<u8> {
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\nDescription: a test\n");
        let sums: String =
            data.iter().map(|(path, _)| format!("00000000  {}\n", path.trim_start_matches("./"))).collect();
        let control = tar_of(&[("./control", &control), ("./md5sums", &sums)]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&control).unwrap();
        ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", &gzip.finish().unwrap()),
            ("data.tar.zst", &zstd::encode_all(tar_of(data).as_slice(), 1).unwrap()),
        ])
    }

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            header.set_mode(if path.ends_with('/') { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(text.len() as u64);
            header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, data) in members {
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", data.len()).unwrap();
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    fn node_tar() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Char);
        header.set_path("null").unwrap();
        header.set_mode(0o666);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        let capability: [(&str, &[u8]); 1] = [("SCHILY.xattr.security.capability", b"c")];
        tar.append_pax_extensions(capability).unwrap();
        tar.append(&header, &b""[..]).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn an_archive_keeps_devices_and_extended_attributes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&node_tar()).unwrap();
        let entries = entries_of_archive(file.path()).unwrap();
        assert!(matches!(entries[0].kind, EntryKind::CharDevice { major: 1, minor: 3 }));
        assert_eq!(entries[0].xattrs["security.capability"], b"c");
    }

    fn opened(bytes: &[u8]) -> Result<Package> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        open(file.path())
    }

    #[test]
    fn a_package_is_read_with_its_control_data() {
        let package = opened(&deb("pkg", "1:2-3", &[("./usr/", ""), ("./usr/file", "text")])).unwrap();
        assert_eq!((package.about.name.as_str(), package.about.version.as_str()), ("pkg", "1:2-3"));
        let paths: Vec<_> = package.entries.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["usr", "usr/file"]);
        let EntryKind::File(Content::Slice { length, .. }) = package.entries[1].kind else { panic!("no file") };
        assert_eq!(length, 4);
    }

    #[test]
    fn broken_packages_say_what_is_wrong() {
        let good = deb("pkg", "1", &[("./a", "")]);
        let mut wrong_size = good.clone();
        wrong_size[8 + 48..8 + 58].copy_from_slice(b"9999999999");
        for (bytes, want) in [
            (b"!<nix>\n ".to_vec(), "does not begin with !<arch>"),
            (good[..good.len() - 8].to_vec(), "cut off"),
            (wrong_size, "cut off"),
            (ar(&[("debian-binary", b"2.0\n")]), "no member data.tar"),
            (ar(&[("data.tar", &tar_of(&[]))]), "no member control.tar"),
            (ar(&[("data.tar.lz", b"")]), "unknown kind"),
            (ar(&[("control.tar", &tar_of(&[])), ("data.tar", &tar_of(&[]))]), "its control file has no Package"),
            (
                ar(&[("control.tar", &tar_of(&[("./control", "Package: a\nVersion: 1\nArchitecture: b\n")]))]),
                "data.tar",
            ),
            (ar(&[("control.tar", &tar_of(&[])), ("data.tar", &node_tar())]), "of a kind packages do not have"),
            (deb("pkg", "1", &[("./../a", "")]), "leads out of the root"),
        ] {
            let error = opened(&bytes).unwrap_err();
            assert!(error.message.contains(want), "{want}: {error}");
        }
    }
}
