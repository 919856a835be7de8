//! Owners of files that are reached from outside of the user namespace that they live in.

use crate::error::Result;
use crate::image::assemble::Entry;
use crate::sys::credentials::as_file_owner;

/// Which ids out here those inside are: `count` from 0 on are the ones from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub first: u32,
    pub count: u32,
}

/// Who owns what belongs to nobody of these (Documentation/admin-guide/sysctl/fs.rst, overflowuid).
const NOBODY: u32 = 65534;

/// The attribute, and its two forms: the second ends with the root of the namespace that it is for
/// (include/uapi/linux/capability.h, vfs_ns_cap_data).
const CAPABILITY: &[u8] = b"security.capability";
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const V2: usize = 20;
const V3: usize = 24;

impl Ids {
    /// There is no such namespace.
    pub const SAME: Ids = Ids { first: 0, count: u32::MAX };

    /// Who that is inside.
    pub fn inside(self, id: u32) -> u32 {
        id.checked_sub(self.first).filter(|id| *id < self.count).unwrap_or(NOBODY)
    }

    /// Who that is out here.
    pub fn outside(self, id: u32) -> u32 {
        self.first + if id < self.count { id } else { NOBODY.min(self.count - 1) }
    }

    /// An attribute's value as it is inside: file capabilities out here name the namespace that they are of.
    pub fn value_inside(self, name: &[u8], value: Vec<u8>) -> Vec<u8> {
        match <[u8; V3]>::try_from(value.as_slice()) {
            Ok(caps) if self != Ids::SAME && name == CAPABILITY => {
                let flags = u32::from_le_bytes([caps[0], caps[1], caps[2], caps[3]]) & 0x00ff_ffff;
                [&(flags | REVISION_2).to_le_bytes()[..], &caps[4..V2]].concat()
            }
            _ => value,
        }
    }

    /// The same the other way.
    pub fn value_outside(self, name: &[u8], value: Vec<u8>) -> Vec<u8> {
        match <[u8; V2]>::try_from(value.as_slice()) {
            Ok(caps) if self != Ids::SAME && name == CAPABILITY => {
                let flags = u32::from_le_bytes([caps[0], caps[1], caps[2], caps[3]]) & 0x00ff_ffff;
                [&(flags | REVISION_3).to_le_bytes()[..], &caps[4..], &self.first.to_le_bytes()].concat()
            }
            _ => value,
        }
    }

    /// An object's owners and capabilities as they are inside.
    pub fn number_inside(self, entry: &mut Entry) {
        (entry.uid, entry.gid) = (self.inside(entry.uid), self.inside(entry.gid));
        for (name, value) in &mut entry.xattrs {
            *value = self.value_inside(name.as_bytes(), std::mem::take(value));
        }
    }

    /// Does something as root inside: as anybody else, a file could not even be made.
    pub fn as_root<T>(self, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Ids::SAME { deed() } else { as_file_owner(self.first, self.first, deed)? }
    }
}

#[test]
fn file_capabilities_are_those_of_the_namespace() {
    let ids = Ids { first: 524_288, count: 65536 };
    let v2 = [&0x0200_0001_u32.to_le_bytes()[..], &[0, 4, 0, 0], &[0; 12]].concat();
    let v3 = ids.value_outside(CAPABILITY, v2.clone());
    assert_eq!((v3.len(), &v3[20..]), (V3, &524_288_u32.to_le_bytes()[..]));
    assert_eq!(ids.value_inside(CAPABILITY, v3), v2);
    assert_eq!(ids.value_inside(b"user.x", v2.clone()), v2);
    assert_eq!(Ids::SAME.value_outside(CAPABILITY, v2.clone()), v2);
}

#[test]
fn owners_are_numbered_as_inside() {
    let ids = Ids { first: 524_288, count: 1000 };
    assert_eq!([524_288, 524_295, 525_288, 0].map(|id| ids.inside(id)), [0, 7, NOBODY, NOBODY]);
    assert_eq!([0, 7, 1000].map(|id| ids.outside(id)), [524_288, 524_295, 525_287]);
    assert_eq!([0, 7].map(|id| (Ids::SAME.inside(id), Ids::SAME.outside(id))), [(0, 0), (7, 7)]);
}
