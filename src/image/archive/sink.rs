//! Images written into files: an OCI layout, a tar of one, a docker-archive, which since docker 25 is both, and skopeo's
//! `dir:`. The same image gives the same bytes. Nothing stands under its name before it is whole.

use super::source::Form;
use super::{INDEX, parse};
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::assemble::{self, failed, persist, replace, temporary};
use crate::image::index::{FULL_NAME, REF_NAME};
use crate::image::layer::Hashed;
use crate::image::store;
use crate::image::transfer::{DAMAGED, Destination, Name, Open, Takes, media_type};
use crate::sys::fs;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use tempfile::NamedTempFile;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// containers/image, directory/directory_dest.go.
const DIR_VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// Copies what must be of this size and digest.
fn copy(data: impl Read, to: &mut dyn Write, digest: &Digest, size: u64) -> Result<()> {
    let mut hashed = Hashed::new(data.take(size.saturating_add(1)));
    let mut buffer = vec![0; 128 << 10];
    loop {
        // whose fault it is: reading is the image's, writing the host's
        match hashed.read(&mut buffer).map_err(|e| Error::image(format!("blob {digest}: {e}")).hint(DAMAGED))? {
            0 => break,
            n => to.write_all(&buffer[..n]).map_err(|e| failed(format!("writing blob {digest}"), &e))?,
        }
    }
    let count = hashed.count;
    match hashed.digest() {
        is if is == *digest && count == size => Ok(()),
        is if count == size => {
            Err(Error::image(format!("digest mismatch: the content of {digest} is {is}")).hint(DAMAGED))
        }
        _ => Err(Error::image(format!("blob {digest} has not {size} bytes")).hint(DAMAGED)),
    }
}

/// What stands in an index for a manifest, once for each name.
fn entries(bytes: &[u8], names: &[Name]) -> Vec<Value> {
    let entry = json!({ "mediaType": media_type(bytes), "digest": Digest::of(bytes), "size": bytes.len() });
    let named = |name: &Name| {
        let mut entry = entry.clone();
        if let Some(full) = &name.full {
            entry["annotations"][FULL_NAME] = full.to_string().into();
        }
        entry["annotations"][REF_NAME] = name.text.as_str().into();
        entry
    };
    if names.is_empty() { vec![entry] } else { names.iter().map(named).collect() }
}

fn index_bytes(manifests: &[Value]) -> Result<Vec<u8>> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    serde_json::to_vec(&index).map_err(|e| Error::internal(e.to_string()))
}

/// A tar that is being written.
pub(in crate::image) struct Archive {
    tar: tar::Builder<BufWriter<Out>>,
    form: Form,
    written: BTreeSet<Digest>,
    index: Vec<Value>,
    /// docker's manifest.json.
    images: Vec<Value>,
}

/// Where it is written to.
enum Out {
    /// Beside its place until it is whole.
    New(NamedTempFile, HostPath),
    /// A pipe, a device.
    Open(Box<dyn Write>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::New(file, _) => file.write(bytes),
            Out::Open(out) => out.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::New(file, _) => file.flush(),
            Out::Open(out) => out.flush(),
        }
    }
}

impl Archive {
    /// In a file that is replaced when the archive is whole; what is no regular file is written into.
    pub(in crate::image) fn create(path: &HostPath, form: Form) -> Result<Archive> {
        let there = std::fs::metadata(path.as_path());
        let out = match there {
            Ok(there) if there.is_dir() => {
                return Err(Error::user(format!("{path} is a directory")).hint("name a file"));
            }
            Ok(there) if !there.is_file() => {
                let opened = OpenOptions::new().write(true).open(path.as_path());
                Out::Open(Box::new(opened.map_err(|e| failed(format!("opening {path}"), &e))?))
            }
            _ => {
                let dir = path.as_path().parent().and_then(|dir| dir.to_str()).unwrap_or("/");
                Out::New(temporary(&HostPath::parse(dir)?)?, path.clone())
            }
        };
        Ok(Archive::new(out, form))
    }

    pub(in crate::image) fn stream(out: Box<dyn Write>, form: Form) -> Archive {
        Archive::new(Out::Open(out), form)
    }

    fn new(out: Out, form: Form) -> Archive {
        let tar = tar::Builder::new(BufWriter::with_capacity(256 << 10, out));
        Archive { tar, form, written: BTreeSet::new(), index: Vec::new(), images: Vec::new() }
    }

    /// The head of a member; its bytes follow.
    fn begin(&mut self, path: &str, size: u64) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        let named = header.set_path(path);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        named
            .and_then(|()| self.tar.get_mut().write_all(header.as_bytes()))
            .map_err(|e| failed("writing the archive", &e))
    }

    /// Zeros up to the next block.
    fn end(&mut self, size: u64) -> Result<()> {
        let length = size.next_multiple_of(512) - size;
        self.tar.get_mut().write_all(&[0; 512][..length as usize]).map_err(|e| failed("writing the archive", &e))
    }

    fn member(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.begin(path, bytes.len() as u64)?;
        self.tar.get_mut().write_all(bytes).map_err(|e| failed("writing the archive", &e))?;
        self.end(bytes.len() as u64)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Destination for Archive {
    fn has(&mut self, blob: &Digest) -> Result<bool> {
        Ok(self.written.contains(blob))
    }

    fn put_blob(&mut self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()> {
        let data = open()?;
        self.begin(&blob_path(digest), size)?;
        copy(data, self.tar.get_mut(), digest, size)?;
        self.written.insert(digest.clone());
        self.end(size)
    }

    fn put_manifest(&mut self, bytes: &[u8], names: Option<&[Name]>) -> Result<()> {
        let digest = Digest::of(bytes);
        if self.written.insert(digest.clone()) {
            self.member(&blob_path(&digest), bytes)?;
        }
        let Some(names) = names else { return Ok(()) };
        self.index.extend(entries(bytes, names));
        if self.form == Form::Docker {
            let parsed = store::parse_manifest(&digest, bytes)?;
            let path = |blob| store::digest_of(blob).map(|digest| blob_path(&digest));
            let tags: Vec<String> = names
                .iter()
                .map(|name| name.full.as_ref().map_or_else(|| name.text.clone(), |full| full.familiar()))
                .collect();
            self.images.push(json!({
                "Config": path(parsed.config())?,
                "RepoTags": if tags.is_empty() { Value::Null } else { tags.into() },
                "Layers": parsed.layers().iter().map(path).collect::<Result<Vec<_>>>()?,
            }));
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let index = index_bytes(&self.index)?;
        self.member("index.json", &index)?;
        if self.form == Form::Docker {
            let manifest = Value::from(std::mem::take(&mut self.images)).to_string();
            self.member("manifest.json", manifest.as_bytes())?;
        }
        self.member("oci-layout", LAYOUT)?;
        let failing = |e: &io::Error| failed("writing the archive", e);
        let buffered = self.tar.into_inner().map_err(|e| failing(&e))?;
        match buffered.into_inner().map_err(|e| failing(e.error()))? {
            Out::New(file, path) => persist(file, path.as_path()),
            Out::Open(mut out) => out.flush().map_err(|e| failing(&e)),
        }
    }

    fn takes(&self) -> Takes {
        // dockerd reads zstd since 23.0 only
        let all = self.form != Form::Docker;
        Takes { zstd: all, index: all }
    }
}

/// A directory that is being filled: an OCI layout, which may have other images, or skopeo's `dir:`, which has one.
#[derive(Debug)]
pub(in crate::image) struct Tree {
    dir: HostPath,
    form: Form,
    /// It was missing or empty before.
    fresh: bool,
    existed: bool,
    /// What to remove if it does not become whole.
    written: Vec<HostPath>,
    index: Vec<Value>,
    tops: usize,
    finished: bool,
}

/// Removes what we or skopeo have written, and nothing that somebody else may have put beside it.
fn clear(dir: &HostPath) -> Result<()> {
    for name in fs::list(dir.as_path())? {
        let stem = name.strip_suffix(".manifest.json").unwrap_or(&name);
        let is_blob = stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_hexdigit());
        let known = ["blobs", "index.json", "oci-layout", "manifest.json", "version"].contains(&name.as_str());
        if is_blob || known || name.starts_with("signature-") {
            fs::remove_tree(dir.child(&name).as_path())?;
        }
    }
    Ok(())
}

impl Tree {
    pub(in crate::image) fn open(dir: &HostPath, form: Form) -> Result<Tree> {
        let existed = fs::exists(dir.as_path());
        let names = if existed { fs::list(dir.as_path())? } else { Vec::new() };
        let (mark, begins, kind) = match form {
            Form::Oci => ("oci-layout", &LAYOUT[..1], "OCI layout"),
            Form::Dir | Form::Docker => ("version", &DIR_VERSION[..28], "directory of skopeo's"),
        };
        let is_marked = || fs::read(dir.child(mark).as_path()).is_ok_and(|text| text.starts_with(begins));
        if !names.is_empty() && !is_marked() {
            return Err(Error::user(format!("{dir} is not empty, and no {kind}")).hint("name a new directory"));
        }
        let fresh = names.is_empty() || form == Form::Dir;
        if form == Form::Dir {
            clear(dir)?;
        }
        let (written, index) = (Vec::new(), Vec::new());
        let tree = Tree { dir: dir.clone(), form, fresh, existed, written, index, tops: 0, finished: false };
        match form {
            Form::Oci => assemble::create_layout(dir)?,
            Form::Dir | Form::Docker => fs::mkdir_all(dir.as_path(), 0o755)?,
        }
        Ok(tree)
    }

    fn place(&self, digest: &Digest) -> (HostPath, HostPath) {
        let dir = if self.form == Form::Oci { self.dir.child("blobs/sha256") } else { self.dir.clone() };
        (dir.clone(), dir.child(digest.hex()))
    }

    fn enter(&self) -> Result<()> {
        let path = self.dir.child("index.json");
        let index: Value = parse("index.json", &fs::read(path.as_path())?).map_err(|e| e.during(&self.dir))?;
        let mut manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        for new in &self.index {
            let name = &new["annotations"][REF_NAME];
            // in the place of what had the name; an image without one is there once
            manifests.retain(|old| match name.is_null() {
                true => old["digest"] != new["digest"],
                false => old["annotations"][REF_NAME] != *name,
            });
            manifests.push(new.clone());
        }
        replace(&self.dir, "index.json", &index_bytes(&manifests)?)
    }
}

impl Destination for Tree {
    fn has(&mut self, blob: &Digest) -> Result<bool> {
        Ok(fs::exists(self.place(blob).1.as_path()))
    }

    fn put_blob(&mut self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()> {
        let (dir, path) = self.place(digest);
        let mut file = temporary(&dir)?;
        copy(open()?, &mut file, digest, size)?;
        persist(file, path.as_path())?;
        self.written.push(path);
        Ok(())
    }

    fn put_manifest(&mut self, bytes: &[u8], names: Option<&[Name]>) -> Result<()> {
        let digest = Digest::of(bytes);
        match (self.form, names) {
            (Form::Oci, _) => {
                if !self.has(&digest)? {
                    self.put_blob(&digest, bytes.len() as u64, &|| Ok(Box::new(bytes)))?;
                }
                self.index.extend(names.map(|names| entries(bytes, names)).unwrap_or_default());
                Ok(())
            }
            (_, None) => replace(&self.dir, &format!("{}.manifest.json", digest.hex()), bytes),
            (_, Some(_)) if self.tops > 0 => {
                Err(Error::user("a directory of this form holds one image").hint("oci-dir holds several"))
            }
            (_, Some(_)) => {
                self.tops += 1;
                replace(&self.dir, "manifest.json", bytes)
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        match self.form {
            Form::Oci => self.enter()?,
            Form::Dir | Form::Docker => replace(&self.dir, "version", DIR_VERSION)?,
        }
        let synced = File::open(self.dir.as_path()).and_then(|dir| dir.sync_all());
        self.finished = true;
        synced.map_err(|e| failed(format!("fsync {}", self.dir), &e))
    }
}

impl Drop for Tree {
    /// What did not become whole leaves nothing; an error here would hide the one that led here.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for path in &self.written {
            let _ = fs::unlink(path.as_path());
        }
        if self.fresh {
            let _ = clear(&self.dir);
            if !self.existed {
                let _ = fs::rmdir(self.dir.as_path());
            }
        }
    }
}
