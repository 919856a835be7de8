//! nf_tables over netlink: tables, chains, sets, rules and elements in one [`Transaction`], and the few questions that a
//! runtime asks. Numbers and attribute names are those of linux/netfilter/nf_tables.h. Knows no rule of ours.

mod contents;
mod query;
mod transaction;

pub use contents::{Contents, SetContents, contents};
pub use query::{BaseChain, Found, Rule, chains, element, rules, table_exists};
pub use transaction::{Existing, Transaction};

use super::netlink::Attributes;

/// A table in its protocol family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<'a> {
    pub family: u8,
    pub name: &'a str,
}

/// A chain; with a hook it is a base chain of policy accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static str,
    pub hook: Option<Hook>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// NF_INET_PRE_ROUTING and so on.
    pub number: u32,
    pub priority: i32,
}

/// A set, or a map where it has data. Types are nft's own numbers, which the kernel only keeps for the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub name: &'static str,
    pub key: Type,
    pub data: Option<Type>,
    /// NFT_SET_INTERVAL or 0.
    pub flags: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub number: u32,
    pub length: u32,
    pub order: ByteOrder,
}

/// What `nft list` needs to print a value (libnftables, NFTNL_UDATA_SET_KEYBYTEORDER); it takes 0 for a concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    Mixed = 0,
    Host = 1,
    Network = 2,
}

/// One element. For an interval set `end` marks the first key behind the interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub key: Vec<u8>,
    pub data: Option<Data>,
    pub end: Option<End>,
    pub comment: Option<String>,
}

/// Marks an interval's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Value(Vec<u8>),
    Verdict(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
}

/// What an expression compares for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal = 0,
    Differs = 1,
}

/// Whether a lookup goes on when the key is there, or when it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    Yes,
    No,
}

/// The expressions that a container runtime's rules consist of. Registers: 1 to 4 have 16 bytes, 8 to 23 have 4
/// (register 1 is 8 to 11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// NFT_META_*
    Meta {
        key: u32,
        to: u32,
    },
    /// NFT_CT_*
    Ct {
        key: u32,
        to: u32,
    },
    /// Base NFT_PAYLOAD_*, offset and length in bytes.
    Payload {
        base: u32,
        offset: u32,
        length: u32,
        to: u32,
    },
    Compare {
        register: u32,
        how: Compare,
        value: Vec<u8>,
    },
    Mask {
        register: u32,
        mask: Vec<u8>,
    },
    /// The address type (local, unicast, …) of the source or destination: NFTA_FIB_F_*
    FibType {
        flags: u32,
        to: u32,
    },
    Lookup {
        set: &'static str,
        key: u32,
        member: Member,
    },
    /// A map: the data goes to a register; register 0 is the verdict.
    Map {
        set: &'static str,
        key: u32,
        to: u32,
    },
    Dnat {
        family: u8,
        address: u32,
        port: u32,
    },
    Masquerade,
    /// A register gets this value.
    Immediate {
        to: u32,
        value: Vec<u8>,
    },
    Verdict(Verdict),
}

/// The subsystem's number in front of a message's.
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;

/// Attributes that more than one message has: NFTA_LIST_ELEM, NFTA_DATA_VALUE, NFTA_DATA_VERDICT and, equal in
/// tables, chains, rules and element lists, the table's name.
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const TABLE: u16 = 1;

/// struct nfgenmsg, the table's name, the rest.
fn body(table: &Table<'_>, fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
    let mut attributes = Attributes { bytes: vec![table.family, 0, 0, 0] };
    if !table.name.is_empty() {
        attributes.text(TABLE, table.name);
    }
    fill(&mut attributes);
    attributes.bytes
}

/// nft's user data of type comment: type 0, length, text with NUL; at most 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN).
fn user_comment(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(COMMENT_MAX)];
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

/// The longest comment that nft lists.
pub const COMMENT_MAX: usize = 127;

fn comment_of(mut user: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = user {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        user = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_as_it_was_written_and_is_cut_to_what_nft_lists() {
        for text in ["", "abc", &"x".repeat(300)] {
            let wanted = &text[..text.len().min(COMMENT_MAX)];
            assert_eq!(comment_of(&user_comment(text)).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn broken_user_data_is_no_comment() {
        for bytes in [&[][..], &[0], &[0, 200, 1], &[1, 1, 0]] {
            assert_eq!(comment_of(bytes), None, "{bytes:?}");
        }
    }
}
