//! PAX extended headers: `LENGTH KEY=VALUE\n`, where the length alone says where a record ends, for a value may
//! hold any byte. Pure.

use crate::sys::at::Time;
use std::collections::BTreeMap;
use std::io;

/// Bytes of all names of a file's extended attributes, each with its NUL: no file has more (XATTR_LIST_MAX, limits.h).
const MAX_NAMES: usize = 64 << 10;

/// What the records of one extended header say.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Time>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Sparse,
}

/// GNU.sparse.*: 0.0 and 0.1 carry the map here, 1.0 in front of the data.
#[derive(Debug, Default, Clone)]
pub(super) struct Sparse {
    pub version: Option<(u64, u64)>,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    pub map: Option<Vec<(u64, u64)>>,
}

impl Pax {
    /// What an archive's global records say of each member. Size and path are nobody's in particular; attributes would be
    /// written to every file, and docker leaves them out too.
    pub(super) fn of_each(&self) -> Pax {
        Pax { uid: self.uid, gid: self.gid, mtime: self.mtime, ..Pax::default() }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed PAX header: {what}"))
}

/// These records over those of `pax`. One without a value takes that of before away (POSIX pax, "pax Extended Header"),
/// and the header block's holds.
pub(super) fn parse(mut bytes: &[u8], mut pax: Pax) -> io::Result<Pax> {
    let mut names = 0;
    let mut major = None;
    let mut offset = None;
    // some writers pad with NUL
    while !bytes.is_empty() && bytes[0] != 0 {
        let (key, value, rest) = record(bytes)?;
        bytes = rest;
        match key {
            b"path" => pax.path = said(value).map(<[u8]>::to_vec),
            b"linkpath" => pax.link = said(value).map(<[u8]>::to_vec),
            b"size" => pax.size = said(value).map(number).transpose()?,
            b"uid" => pax.uid = said(value).map(number).transpose()?,
            b"gid" => pax.gid = said(value).map(number).transpose()?,
            b"mtime" => pax.mtime = said(value).map(time).transpose()?,
            b"GNU.sparse.major" => major = Some(number(value)?),
            b"GNU.sparse.minor" => pax.sparse.version = Some((major.unwrap_or(0), number(value)?)),
            b"GNU.sparse.name" => pax.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.real_size = Some(number(value)?),
            b"GNU.sparse.map" => pax.sparse.map = Some(map(value)?),
            b"GNU.sparse.offset" => offset = Some(number(value)?),
            b"GNU.sparse.numbytes" => {
                let segment = (offset.take().ok_or_else(|| broken("numbytes without offset"))?, number(value)?);
                pax.sparse.map.get_or_insert_with(Vec::new).push(segment);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if pax.xattrs.insert(name.to_vec(), value.to_vec()).is_none() {
                        names += name.len() + 1;
                    }
                    if names > MAX_NAMES {
                        return Err(broken("more extended attributes than a file can have"));
                    }
                }
            }
        }
    }
    Ok(pax)
}

fn said(value: &[u8]) -> Option<&[u8]> {
    Some(value).filter(|value| !value.is_empty())
}

/// Key, value and what follows.
fn record(bytes: &[u8]) -> io::Result<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|b| *b == b' ').ok_or_else(|| broken("no length"))?;
    let length = usize::try_from(number(&bytes[..blank])?).map_err(|_| broken("length"))?;
    if length <= blank + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(broken("a record that ends elsewhere"));
    }
    let (record, rest) = (&bytes[blank + 1..length - 1], &bytes[length..]);
    let equals = record.iter().position(|b| *b == b'=').ok_or_else(|| broken("no `=`"))?;
    Ok((&record[..equals], &record[equals + 1..], rest))
}

pub(super) fn number(digits: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| broken("not a number"))
}

/// `1234.5` or `-1234.5`; digits beyond the ninth are cut.
fn time(value: &[u8]) -> io::Result<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(number(parts.next().unwrap_or_default())?).map_err(|_| broken("time"))?;
    let fraction = parts.next().unwrap_or_default();
    let mut nine = [b'0'; 9];
    let length = fraction.len().min(9);
    nine[..length].copy_from_slice(&fraction[..length]);
    let nanoseconds = i64::try_from(number(&nine)?).map_err(|_| broken("time"))?;
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

fn map(value: &[u8]) -> io::Result<Vec<(u64, u64)>> {
    let numbers: Vec<u64> = value.split(|b| *b == b',').map(number).collect::<io::Result<_>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err(broken("half a sparse segment"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn write(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length = body + length.to_string().len();
            }
            out.extend(format!("{length} {key}=").bytes());
            out.extend(*value);
            out.push(b'\n');
        }
        out
    }

    #[test]
    fn a_newline_in_a_value_is_part_of_the_value() {
        let bytes =
            write(&[("path", b"a\n12 size=1234\n"), ("SCHILY.xattr.security.capability", b"\n\0\n"), ("size", b"7")]);
        let pax = parse(&bytes, Pax::default()).unwrap();
        assert_eq!(pax.path.unwrap(), b"a\n12 size=1234\n");
        assert_eq!(pax.size, Some(7));
        assert_eq!(pax.xattrs, BTreeMap::from([(b"security.capability".to_vec(), b"\n\0\n".to_vec())]));
    }

    #[test]
    fn a_record_without_a_value_takes_that_of_before_away() {
        let keys = ["path", "linkpath", "size", "uid", "gid", "mtime"];
        let global = parse(&write(&keys.map(|key| (key, &b"7"[..]))), Pax::default()).unwrap().of_each();
        assert_eq!((global.uid, global.path.clone()), (Some(7), None));
        let pax = parse(&write(&keys.map(|key| (key, &b""[..]))), global).unwrap();
        let said = (pax.path, pax.link, pax.size, pax.uid, pax.gid, pax.mtime);
        assert_eq!(said, (None, None, None, None, None, None));
    }

    #[test]
    fn attributes_are_as_many_as_a_file_can_have() {
        let write = |count: usize| -> Vec<u8> {
            (0..count).flat_map(|i| write(&[(&format!("SCHILY.xattr.user.{i:010}"), b"")])).collect()
        };
        assert_eq!(parse(&write(4096), Pax::default()).unwrap().xattrs.len(), 4096); // 16 bytes each, with the NUL
        let again = [write(4096), write(4096)].concat();
        assert_eq!(parse(&again, Pax::default()).unwrap().xattrs.len(), 4096);
        assert!(parse(&write(4097), Pax::default()).is_err());
    }

    #[test]
    fn times_have_nanoseconds_and_may_be_before_1970() {
        for (text, seconds, nanoseconds) in
            [("1.5", 1, 500_000_000), ("-1.25", -2, 750_000_000), ("-3", -3, 0), ("0.1234567899", 0, 123_456_789)]
        {
            assert_eq!(time(text.as_bytes()).unwrap(), Time { seconds, nanoseconds }, "{text}");
        }
    }

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            "8 path=a\n",
            "11 path=a\n",
            "x",
            "5 a\n",
            "99999999999999999999 a=b\n",
            "0 a=b\n",
            "13 size=12x4\n",
            "13 size=-1234\n",
        ] {
            assert!(parse(bad.as_bytes(), Pax::default()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, Pax::default());
        }
    }
}
