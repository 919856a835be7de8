//! Layers and OCI layouts as an attacker or an odd tool would write them: byte by byte, for no tool writes what we must
//! be able to read.

use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::Path;

/// One member. Names that are too long for the header get GNU's long form.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    pub kind: u8,
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub data: &'a [u8],
    /// What the header says, where that is not the data's length.
    pub size: Option<u64>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: (u32, u32),
}

pub const FILE: Member<'static> =
    Member { kind: b'0', path: b"", link: b"", data: b"", size: None, mode: 0o644, uid: 0, gid: 0, device: (0, 0) };
pub const DIR: Member<'static> = Member { kind: b'5', mode: 0o755, ..FILE };

/// The time of every member.
pub const TIME: u64 = 1_000_000_000;

/// A tar archive that grows, and whether its last member was records for the next one.
#[derive(Debug, Clone, Default)]
pub struct Tar(pub Vec<u8>, bool);

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    #[must_use]
    pub fn member(mut self, member: Member<'_>) -> Tar {
        for (name, kind) in [(member.path, b'L'), (member.link, b'K')] {
            if name.len() > 100 {
                let data = &[name, b"\0"].concat();
                self = self.member(Member { kind, path: b"././@LongLink", data, ..FILE });
            }
        }
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &member.path[..member.path.len().min(100)]);
        put(100, format!("{:07o}", member.mode).as_bytes());
        put(108, format!("{:07o}", member.uid).as_bytes());
        put(116, format!("{:07o}", member.gid).as_bytes());
        put(124, format!("{:011o}", member.size.unwrap_or(member.data.len() as u64)).as_bytes());
        put(136, format!("{TIME:011o}").as_bytes());
        put(156, &[member.kind]);
        put(157, &member.link[..member.link.len().min(100)]);
        // Go's package takes PAX records before a POSIX header alone, and GNU's long names before GNU's
        let posix = self.1 || member.kind == b'x';
        put(257, if posix { b"ustar\x0000" } else { b"ustar  \0" });
        put(329, format!("{:07o}", member.device.0).as_bytes());
        put(337, format!("{:07o}", member.device.1).as_bytes());
        set_sum(&mut header);
        self.1 = member.kind == b'x';
        self.0.extend(header);
        self.0.extend(member.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    #[must_use]
    pub fn file(self, path: &str, data: &str) -> Tar {
        self.member(Member { path: path.as_bytes(), data: data.as_bytes(), ..FILE })
    }

    #[must_use]
    pub fn dir(self, path: &str) -> Tar {
        self.member(Member { path: path.as_bytes(), ..DIR })
    }

    #[must_use]
    pub fn symlink(self, path: &str, to: &str) -> Tar {
        self.member(Member { kind: b'2', path: path.as_bytes(), link: to.as_bytes(), mode: 0o777, ..FILE })
    }

    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Tar {
        self.member(Member { kind: b'1', path: path.as_bytes(), link: to.as_bytes(), ..FILE })
    }

    /// Makes the first header's sum right again.
    pub fn sum(&mut self) {
        set_sum(&mut self.0[..512]);
    }

    /// Records for the next member.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3; // a blank, `=` and a newline
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend(format!("{length} {key}=").bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.member(Member { kind: b'x', path: b"pax", data: &data, ..FILE })
    }

    /// The archive with its end.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = self.0;
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

fn set_sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A layer as it is stored, and the digest of what it inflates to.
#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub diff_id: String,
    pub media_type: &'static str,
}

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

impl Layer {
    pub fn plain(tar: Tar) -> Layer {
        let blob = tar.bytes();
        Layer { diff_id: digest(&blob), blob, media_type: TAR }
    }

    pub fn gzip(plain: &[u8]) -> Layer {
        Layer { diff_id: digest(plain), blob: gzip(plain), media_type: GZIP }
    }

    pub fn zstd(plain: &[u8]) -> Layer {
        Layer { diff_id: digest(plain), blob: zstd::encode_all(plain, 1).unwrap(), media_type: ZSTD }
    }

    /// The same under another name.
    #[must_use]
    pub fn called(self, media_type: &'static str) -> Layer {
        Layer { media_type, ..self }
    }
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).into())
}

pub fn hex(hash: [u8; 32]) -> String {
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Writes the layout `dir` with one image of these layers, lowest first, called `x`.
pub fn layout(dir: &Path, layers: &[Layer]) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let add = |bytes: &[u8], media_type: &str| {
        let digest = digest(bytes);
        std::fs::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let descriptors: Vec<_> = layers.iter().map(|layer| add(&layer.blob, layer.media_type)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": { "Cmd": ["/x"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = add(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors });
    let mut manifest = add(manifest.to_string().as_bytes(), MANIFEST);
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "x" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
