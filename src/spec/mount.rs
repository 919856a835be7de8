//! What the container is to have mounted, typed; and `--mount`, the flag that can say all of it.
//! Pure: whether a source exists is seen later, and a volume's directory comes as a fact.

use super::size;
use super::tmpfs::TmpfsMount;
use crate::error::{Error, Result};
use crate::id::{ContainerPath, Digest, HostPath, Name};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountRequest {
    Bind(BindMount),
    Volume(VolumeMount),
    Tmpfs(TmpfsMount),
    Image(ImageMount),
}

/// A file or directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    pub source: HostPath,
    pub target: ContainerPath,
    pub read_only: bool,
    pub submounts: Submounts,
    pub propagation: Propagation,
    pub relabel: Option<Relabel>,
    /// Make the source, a directory, where it is missing: `-v` does, `--mount` does not.
    pub create_source: bool,
}

/// A directory of ours that outlives the container, or, without a name, goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    pub name: Option<Name>,
    /// Nobody gave it its name: it was made up for a container.
    #[serde(default)]
    pub anonymous: bool,
    pub target: ContainerPath,
    pub read_only: bool,
    /// An empty volume gets what the image has at the target.
    pub copy: bool,
    /// A directory inside the volume to mount instead of the whole.
    pub subpath: Option<String>,
    pub labels: Vec<(String, String)>,
    pub relabel: Option<Relabel>,
}

/// The files of another image, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// A reference as given.
    pub source: String,
    /// What that was when it was looked up: the name may be another image's later.
    pub id: Option<Digest>,
    pub target: ContainerPath,
}

/// What a bind does with the mounts below its source (docker's bind-recursive).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Submounts {
    /// Bound too, and read-only with it where the kernel can (mount_setattr, 5.12).
    #[default]
    Follow,
    /// Not bound.
    Leave,
    /// Bound, and writable even where the mount is read-only.
    Writable,
    /// Bound, and read-only or no container.
    ReadOnly,
}

/// mount_namespaces(7), shared subtrees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    Private,
    #[default]
    Rprivate,
    Shared,
    Rshared,
    Slave,
    Rslave,
}

impl Propagation {
    const ALL: [Propagation; 6] = [
        Propagation::Private,
        Propagation::Rprivate,
        Propagation::Shared,
        Propagation::Rshared,
        Propagation::Slave,
        Propagation::Rslave,
    ];

    /// The mount option of that name.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Private => "private",
            Propagation::Rprivate => "rprivate",
            Propagation::Shared => "shared",
            Propagation::Rshared => "rshared",
            Propagation::Slave => "slave",
            Propagation::Rslave => "rslave",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Propagation> {
        Propagation::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

/// `:z` and `:Z`: relabel for SELinux, for all containers or for this one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relabel {
    Shared,
    Private,
}

impl From<TmpfsMount> for MountRequest {
    fn from(tmpfs: TmpfsMount) -> MountRequest {
        MountRequest::Tmpfs(tmpfs)
    }
}

impl MountRequest {
    pub fn target(&self) -> &ContainerPath {
        match self {
            MountRequest::Bind(bind) => &bind.target,
            MountRequest::Volume(volume) => &volume.target,
            MountRequest::Tmpfs(tmpfs) => &tmpfs.target,
            MountRequest::Image(image) => &image.target,
        }
    }
}

/// `--mount type=…,source=…,target=…,…`. A relative source of a bind is taken from `cwd`, the caller's directory.
pub fn parse(text: &str, cwd: &str) -> Result<MountRequest> {
    parse_fields(text, cwd).map_err(|e| e.hint("--mount type=bind,source=/FROM,target=/TO[,readonly]"))
}

fn parse_fields(text: &str, cwd: &str) -> Result<MountRequest> {
    let fields = Fields::parse(text)?;
    let kind = fields.get("type").unwrap_or("volume").to_ascii_lowercase();
    let mount = match kind.as_str() {
        "bind" => MountRequest::Bind(bind(&fields, cwd)?),
        "volume" => MountRequest::Volume(volume(&fields)?),
        "tmpfs" => MountRequest::Tmpfs(tmpfs(&fields)?),
        "image" => MountRequest::Image(image(&fields)?),
        _ => {
            return Err(fields
                .bad(&format!("mounts of type {kind:?} are not supported"))
                .hint("the types are bind, volume, tmpfs and image"));
        }
    };
    Ok(mount)
}

/// The fields of one `--mount`, under docker's first name for each.
struct Fields {
    text: String,
    fields: Vec<(&'static str, String)>,
}

/// Every spelling of each key, the first being the name used here.
const KEYS: [&[&str]; 16] = [
    &["type"],
    &["source", "src"],
    &["target", "dst", "destination"],
    &["readonly", "ro"],
    &["consistency"],
    &["bind-propagation"],
    &["bind-nonrecursive"],
    &["bind-recursive"],
    &["volume-nocopy"],
    &["volume-subpath"],
    &["volume-label"],
    &["volume-driver"],
    &["volume-opt"],
    &["tmpfs-size"],
    &["tmpfs-mode"],
    &["image-subpath"],
];

/// Keys that may stand without a value and then mean true.
const FLAGS: [&str; 3] = ["readonly", "bind-nonrecursive", "volume-nocopy"];

impl Fields {
    fn parse(text: &str) -> Result<Fields> {
        let mut parsed = Fields { text: text.to_owned(), fields: Vec::new() };
        for field in csv(text).ok_or_else(|| parsed.bad("a quote is not closed"))? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.to_ascii_lowercase(), None),
            };
            let Some(names) = KEYS.iter().find(|names| names.contains(&key.as_str())) else {
                return Err(parsed.bad(&format!("unexpected key {key:?}")));
            };
            let name = names[0];
            let value = match value {
                Some(value) => value,
                None if FLAGS.contains(&name) => "true".to_owned(),
                None => return Err(parsed.bad(&format!("{key} needs a value"))),
            };
            if name != "volume-label" && parsed.get(name).is_some() {
                return Err(parsed.bad(&format!("{key} is given twice")));
            }
            parsed.fields.push((name, value));
        }
        Ok(parsed)
    }

    fn bad(&self, why: &str) -> Error {
        Error::user(format!("invalid mount {:?}: {why}", self.text))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(self.bad(&format!("{name} is true or false, not {other:?}"))),
        }
    }

    /// Refuses keys of another type: `tmpfs-size` on a bind is a mistake, not a wish.
    fn only(&self, prefix: &str) -> Result<()> {
        let foreign = |key: &str| {
            ["bind-", "volume-", "tmpfs-", "image-"].iter().any(|other| *other != prefix && key.starts_with(other))
        };
        match self.fields.iter().find(|(key, _)| foreign(key)) {
            Some((key, _)) => Err(self.bad(&format!("{key} does not go with this type"))),
            None => Ok(()),
        }
    }

    fn target(&self) -> Result<ContainerPath> {
        target(self.get("target").ok_or_else(|| self.bad("target is missing"))?)
    }
}

fn bind(fields: &Fields, cwd: &str) -> Result<BindMount> {
    fields.only("bind-")?;
    let source = fields.get("source").filter(|s| !s.is_empty()).ok_or_else(|| fields.bad("source is missing"))?;
    let propagation = match fields.get("bind-propagation") {
        None => Propagation::default(),
        Some(text) => Propagation::parse(text).ok_or_else(|| {
            fields.bad(&format!("no such propagation {text:?}")).hint("private, shared, slave, or one of them after r")
        })?,
    };
    let read_only = fields.flag("readonly")?;
    let submounts = match fields.get("bind-recursive") {
        None if fields.flag("bind-nonrecursive")? => Submounts::Leave,
        None | Some("enabled") => Submounts::Follow,
        Some("disabled") => Submounts::Leave,
        Some("writable") if read_only => Submounts::Writable,
        Some("readonly") if read_only && propagation == Propagation::Rprivate => Submounts::ReadOnly,
        Some("writable" | "readonly") => {
            return Err(fields
                .bad("bind-recursive=writable and =readonly need readonly")
                .hint("bind-recursive=readonly needs bind-propagation=rprivate, too"));
        }
        Some(_) => return Err(fields.bad("bind-recursive is enabled, disabled, writable or readonly")),
    };
    Ok(BindMount {
        source: host_path(source, cwd)?,
        target: fields.target()?,
        read_only,
        submounts,
        propagation,
        relabel: None,
        create_source: false,
    })
}

fn volume(fields: &Fields) -> Result<VolumeMount> {
    fields.only("volume-")?;
    if let Some(driver) = fields.get("volume-driver").filter(|driver| *driver != "local") {
        return Err(fields.bad(&format!("there is no volume driver {driver:?}")).hint("volumes are local directories"));
    }
    if fields.get("volume-opt").is_some() {
        return Err(fields.bad("volume-opt is not supported").hint("mount it on the host and use type=bind"));
    }
    let labels = fields.fields.iter().filter(|(key, _)| *key == "volume-label").map(|(_, label)| label_pair(label));
    let name = fields.get("source").filter(|s| !s.is_empty()).map(Name::parse).transpose();
    Ok(VolumeMount {
        name: name.map_err(|e| e.hint("the source of a volume is its name; for a directory give type=bind"))?,
        anonymous: false,
        target: fields.target()?,
        read_only: fields.flag("readonly")?,
        copy: !fields.flag("volume-nocopy")?,
        subpath: fields.get("volume-subpath").map(|path| subpath(fields, path)).transpose()?,
        labels: labels.collect(),
        relabel: None,
    })
}

/// A path inside a volume: relative, and never upwards.
fn subpath(fields: &Fields, path: &str) -> Result<String> {
    if path.is_empty() || path.starts_with('/') || path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(fields.bad("volume-subpath is a relative path without .."));
    }
    Ok(path.to_owned())
}

fn tmpfs(fields: &Fields) -> Result<TmpfsMount> {
    fields.only("tmpfs-")?;
    if fields.get("source").is_some_and(|source| !source.is_empty()) {
        return Err(fields.bad("a tmpfs has no source"));
    }
    let mode = fields.get("tmpfs-mode").map(|mode| {
        super::tmpfs::parse_mode(mode).ok_or_else(|| fields.bad("tmpfs-mode is an octal number such as 1777"))
    });
    Ok(TmpfsMount {
        target: fields.target()?,
        size: fields.get("tmpfs-size").map(size::parse).transpose()?,
        mode: mode.transpose()?,
        options: if fields.flag("readonly")? { vec!["ro".to_owned()] } else { Vec::new() },
    })
}

fn image(fields: &Fields) -> Result<ImageMount> {
    fields.only("image-")?;
    if fields.get("image-subpath").is_some() {
        return Err(fields
            .bad("image-subpath is not supported")
            .hint("mount the whole image and use what is below it"));
    }
    if fields.get("readonly").is_some() && !fields.flag("readonly")? {
        return Err(fields.bad("an image is mounted read-only").hint("minirun cp copies out of a container of it"));
    }
    let source = fields.get("source").filter(|s| !s.is_empty()).ok_or_else(|| fields.bad("source is missing"))?;
    Ok(ImageMount { source: source.to_owned(), id: None, target: fields.target()? })
}

/// `KEY=VALUE`, or `KEY` for an empty value.
pub fn label_pair(label: &str) -> (String, String) {
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    (key.to_owned(), value.to_owned())
}

/// A mount's target: absolute, cleaned as docker cleans it, and not the root.
pub(super) fn target(text: &str) -> Result<ContainerPath> {
    let path = ContainerPath::parse(&clean(text))
        .map_err(|_| Error::user(format!("invalid mount target {text:?}")).hint("a target is an absolute path"))?;
    if path.as_str() == "/" {
        return Err(Error::user("a mount's target cannot be /").hint("use --rootfs DIR to run from a directory"));
    }
    Ok(path)
}

/// A host path, relative ones from the caller's directory. Not cleaned: `a/../b` is the kernel's to resolve.
pub fn host_path(text: &str, cwd: &str) -> Result<HostPath> {
    if text.starts_with('/') {
        return HostPath::parse(text);
    }
    let relative = text.trim_start_matches("./");
    let relative = if relative == "." { "" } else { relative };
    HostPath::parse(format!("{}/{relative}", cwd.trim_end_matches('/')).trim_end_matches('/'))
}

/// Path without `.`, `..`, double or trailing slashes, by its text alone (Go's path.Clean); a relative one stays relative.
pub(super) fn clean(path: &str) -> String {
    let whole = crate::id::clean(path);
    if path.starts_with('/') { whole } else { whole[1..].to_owned() }
}

/// One line of CSV (RFC 4180), for docker reads `--mount` so: a field in quotes may hold commas. `None`: an open quote.
fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> BindMount {
        match parse(text, "/home/me").unwrap() {
            MountRequest::Bind(bind) => bind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn binds_know_dockers_keys() {
        for (text, source, read_only, submounts) in [
            ("type=bind,source=/a,target=/b", "/a", false, Submounts::Follow),
            ("Type=BIND,src=/a,dst=/b,readonly", "/a", true, Submounts::Follow),
            ("type=bind,src=/a,destination=/b,ro=true", "/a", true, Submounts::Follow),
            ("type=bind,src=./x,dst=/b,readonly=false", "/home/me/x", false, Submounts::Follow),
            ("type=bind,src=.,dst=/b", "/home/me", false, Submounts::Follow),
            ("type=bind,\"src=/a,c\",dst=/b", "/a,c", false, Submounts::Follow),
            ("type=bind,src=/a,dst=/b,bind-recursive=disabled", "/a", false, Submounts::Leave),
            ("type=bind,src=/a,dst=/b,bind-nonrecursive", "/a", false, Submounts::Leave),
            ("type=bind,src=/a,dst=/b,ro,bind-recursive=writable", "/a", true, Submounts::Writable),
            ("type=bind,src=/a,dst=//b/./c/..,ro,bind-recursive=readonly", "/a", true, Submounts::ReadOnly),
        ] {
            let got = bind(text);
            assert_eq!(
                (got.source.as_str(), got.target.as_str(), got.read_only, got.submounts),
                (source, "/b", read_only, submounts),
                "{text}"
            );
        }
        assert_eq!(bind("type=bind,src=/a,dst=/b,bind-propagation=rslave").propagation, Propagation::Rslave);
    }

    #[test]
    fn volume_and_tmpfs_know_their_keys() {
        let MountRequest::Volume(volume) = parse("src=data,dst=/d,volume-nocopy,volume-subpath=a/b", "/").unwrap()
        else {
            panic!()
        };
        assert_eq!(volume.name.unwrap().as_str(), "data");
        assert_eq!((volume.copy, volume.subpath.as_deref()), (false, Some("a/b")));
        let MountRequest::Tmpfs(tmpfs) = parse("type=tmpfs,dst=/tmp,tmpfs-mode=1777,tmpfs-size=1m", "/").unwrap()
        else {
            panic!()
        };
        assert_eq!((tmpfs.mode, tmpfs.size), (Some(0o1777), Some(1 << 20)));
        let MountRequest::Image(image) = parse("type=image,src=alpine:3,dst=/a,ro", "/").unwrap() else { panic!() };
        assert_eq!((image.source.as_str(), image.target.as_str(), image.id), ("alpine:3", "/a", None));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "type=bind,source=/a",
            "type=bind,target=/b",
            "type=bind,source=/a,target=b",
            "type=bind,source=/a,target=/",
            "type=bind,source=/a,target=/x/..",
            "type=bind,source=/a,target=/b,color=red",
            "type=bind,source=/a,target=/b,tmpfs-size=1",
            "type=bind,source=/a,target=/b,target=/c",
            "type=bind,source=/a,target=/b,readonly=maybe",
            "type=bind,source=/a,target=/b,bind-recursive=readonly",
            "type=bind,\"source=/a,target=/b",
            "type=npipe,source=/a,target=/b",
            "type=image,target=/b",
            "type=image,source=busybox,target=/b,readonly=false",
            "type=image,source=busybox,target=/b,image-subpath=etc",
            "type=bind,source=/a,target=/b,image-subpath=etc",
            "type=tmpfs,source=/a,target=/b",
            "type=tmpfs,target=/b,tmpfs-mode=9",
            "type=volume,source=/a,target=/b",
            "type=volume,source=v,target=/b,volume-subpath=../x",
            "type=volume,source=v,target=/b,volume-driver=nfs",
        ] {
            assert!(parse(text, "/").is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_text() {
        for (path, want) in [("/a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/..", "/"), ("/", "/"), ("a/b", "a/b")] {
            assert_eq!(clean(path), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse(&text, "/");
        }
    }
}
