//! Owners of files that are reached from outside of the user namespace that they live in.

use crate::error::Result;
use crate::sys::credentials::as_file_owner;

/// Which ids out here those inside are: `count` from 0 on are the ones from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    pub first: u32,
    pub count: u32,
}

/// Who owns what belongs to nobody of these (Documentation/admin-guide/sysctl/fs.rst, overflowuid).
const NOBODY: u32 = 65534;

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

    /// Does something as root inside: as anybody else, a file could not even be made.
    pub fn as_root<T>(self, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Ids::SAME { deed() } else { as_file_owner(self.first, self.first, deed)? }
    }
}

#[test]
fn owners_are_numbered_as_inside() {
    let ids = Ids { first: 524_288, count: 1000 };
    assert_eq!([524_288, 524_295, 525_288, 0].map(|id| ids.inside(id)), [0, 7, NOBODY, NOBODY]);
    assert_eq!([0, 7, 1000].map(|id| ids.outside(id)), [524_288, 524_295, 525_287]);
    assert_eq!([0, 7].map(|id| (Ids::SAME.inside(id), Ids::SAME.outside(id))), [(0, 0), (7, 7)]);
}
