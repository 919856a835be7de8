//! nf_tables over netlink: tables, chains, sets, rules and elements in one transaction, and the few questions that a
//! runtime asks. Numbers and attribute names are those of linux/netfilter/nf_tables.h. Knows no rule of ours.

use super::netlink::{Attributes, Batch, Refused, Reply, Socket, attribute};
use crate::error::{Errno, SysError, SysResult};
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

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
    Verdict(Verdict),
}

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const NEWTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_NEWTABLE as u16;
const GETTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_GETTABLE as u16;
const DELTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_DELTABLE as u16;
const NEWCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_NEWCHAIN as u16;
const GETCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_GETCHAIN as u16;
const NEWRULE: u16 = SUBSYSTEM | libc::NFT_MSG_NEWRULE as u16;
const GETRULE: u16 = SUBSYSTEM | libc::NFT_MSG_GETRULE as u16;
const DELRULE: u16 = SUBSYSTEM | libc::NFT_MSG_DELRULE as u16;
const NEWSET: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSET as u16;
const NEWSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSETELEM as u16;
const GETSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_GETSETELEM as u16;
const DELSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_DELSETELEM as u16;

/// Attributes that more than one message has: NFTA_LIST_ELEM, NFTA_DATA_VALUE, NFTA_DATA_VERDICT and, equal in
/// tables, chains, rules and element lists, the table's name.
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const TABLE: u16 = 1;

/// NFT_FIB_RESULT_ADDRTYPE, which libc lacks.
const FIB_RESULT_ADDRTYPE: u32 = 3;

/// Whether an element or table that exists already is refused (EEXIST) or is what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Refused,
    Wanted,
}

/// Changes that the kernel takes all together or not at all.
#[derive(Debug)]
pub struct Transaction {
    batch: Batch,
    sets: u32,
}

impl Default for Transaction {
    fn default() -> Transaction {
        let mut batch = Batch::default();
        batch.push(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &SUBSYSTEM_HEADER);
        Transaction { batch, sets: 0 }
    }
}

/// struct nfgenmsg of the batch's frame: the subsystem in network order.
const SUBSYSTEM_HEADER: [u8; 4] = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];

impl Transaction {
    pub fn add_table(&mut self, table: &Table<'_>, existing: Existing) {
        self.push(NEWTABLE, NLM_F_CREATE | existing.flag(), table, |_| {});
    }

    /// The table with everything in it.
    pub fn delete_table(&mut self, table: &Table<'_>) {
        self.push(DELTABLE, 0, table, |_| {});
    }

    pub fn add_chain(&mut self, table: &Table<'_>, chain: &Chain) {
        self.push(NEWCHAIN, NLM_F_CREATE, table, |a| {
            a.text(3, chain.name);
            if let Some(hook) = chain.hook {
                a.nest(4, |a| {
                    a.number(1, hook.number).number(2, hook.priority as u32);
                });
                a.number(5, libc::NF_ACCEPT as u32).text(7, hook.kind);
            }
        });
    }

    pub fn add_set(&mut self, table: &Table<'_>, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        self.push(NEWSET, NLM_F_CREATE, table, |a| {
            let map = if set.data.is_some() { libc::NFT_SET_MAP as u32 } else { 0 };
            a.text(2, set.name).number(3, set.flags | map).number(4, set.key.number).number(5, set.key.length);
            let mut user = vec![0, 4, set.key.order as u8, 0, 0, 0];
            if let Some(data) = set.data {
                a.number(6, data.number).number(7, data.length);
                user.extend([1, 4, data.order as u8, 0, 0, 0]);
            }
            a.number(10, id).add(13, &user);
        });
    }

    pub fn append_rule(&mut self, table: &Table<'_>, chain: &str, rule: &[Expr]) {
        self.push(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table, |a| {
            a.text(2, chain).nest(4, |a| rule.iter().for_each(|expr| expr.encode(a)));
        });
    }

    /// A rule in front of all others of its chain.
    pub fn insert_rule(&mut self, table: &Table<'_>, chain: &str, rule: &[Expr], comment: &str) {
        self.push(NEWRULE, NLM_F_CREATE, table, |a| {
            a.text(2, chain).nest(4, |a| rule.iter().for_each(|expr| expr.encode(a)));
            a.add(7, &user_comment(comment));
        });
    }

    pub fn delete_rule(&mut self, rule: &Rule) {
        self.push(DELRULE, 0, &Table { family: rule.family, name: &rule.table }, |a| {
            a.text(2, &rule.chain).add(3, &rule.handle.to_be_bytes());
        });
    }

    pub fn add_elements(&mut self, table: &Table<'_>, set: &str, elements: &[Element], existing: Existing) {
        self.elements(NEWSETELEM, NLM_F_CREATE | existing.flag(), table, (set, elements));
    }

    pub fn delete_elements(&mut self, table: &Table<'_>, set: &str, elements: &[Element]) {
        self.elements(DELSETELEM, 0, table, (set, elements));
    }

    fn elements(&mut self, kind: u16, flags: u16, table: &Table<'_>, (set, elements): (&str, &[Element])) {
        /// An attribute's length has 16 bits; the longest element (IPv6 map with comment) takes about 250 bytes.
        const PER_MESSAGE: usize = 200;
        for part in elements.chunks(PER_MESSAGE) {
            self.push(kind, flags, table, |a| {
                a.text(2, set).nest(3, |a| part.iter().for_each(|element| element.encode(a)));
            });
        }
    }

    /// The index of a refusal counts the changes from 0.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Refused> {
        self.batch.acknowledge();
        self.batch.push(libc::NFNL_MSG_BATCH_END as u16, 0, &SUBSYSTEM_HEADER);
        socket
            .send(&self.batch, |_, _| false)
            .map_err(|refused| Refused { index: refused.index.saturating_sub(1), ..refused })
    }

    fn push(&mut self, kind: u16, flags: u16, table: &Table<'_>, fill: impl FnOnce(&mut Attributes)) {
        self.batch.push(kind, flags, &body(table, fill));
    }
}

impl Existing {
    fn flag(self) -> u16 {
        match self {
            Existing::Refused => NLM_F_EXCL,
            Existing::Wanted => 0,
        }
    }
}

/// struct nfgenmsg, the table's name, the rest.
fn body(table: &Table<'_>, fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
    let mut attributes = Attributes { bytes: vec![table.family, 0, 0, 0] };
    if !table.name.is_empty() {
        attributes.text(TABLE, table.name);
    }
    fill(&mut attributes);
    attributes.bytes
}

impl Element {
    fn encode(&self, a: &mut Attributes) {
        a.nest(LIST_ELEM, |a| {
            if self.end.is_some() {
                a.number(3, libc::NFT_SET_ELEM_INTERVAL_END as u32);
            }
            a.nest(1, |a| {
                a.add(DATA_VALUE, &self.key);
            });
            match &self.data {
                None => {}
                Some(Data::Value(value)) => {
                    a.nest(2, |a| {
                        a.add(DATA_VALUE, value);
                    });
                }
                Some(Data::Verdict(verdict)) => {
                    a.nest(2, |a| verdict.encode(a));
                }
            }
            if let Some(comment) = &self.comment {
                a.add(6, &user_comment(comment));
            }
        });
    }
}

impl Verdict {
    fn encode(self, a: &mut Attributes) {
        let (code, chain) = match self {
            Verdict::Accept => (libc::NF_ACCEPT, None),
            Verdict::Drop => (libc::NF_DROP, None),
            Verdict::Return => (libc::NFT_RETURN, None),
            Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
        };
        a.nest(DATA_VERDICT, |a| {
            a.number(1, code as u32);
            if let Some(chain) = chain {
                a.text(2, chain);
            }
        });
    }
}

impl Expr {
    fn name(&self) -> &'static str {
        match self {
            Expr::Meta { .. } => "meta",
            Expr::Ct { .. } => "ct",
            Expr::Payload { .. } => "payload",
            Expr::Compare { .. } => "cmp",
            Expr::Mask { .. } => "bitwise",
            Expr::FibType { .. } => "fib",
            Expr::Lookup { .. } | Expr::Map { .. } => "lookup",
            Expr::Dnat { .. } => "nat",
            Expr::Masquerade => "masq",
            Expr::Verdict(_) => "immediate",
        }
    }

    fn encode(&self, a: &mut Attributes) {
        a.nest(LIST_ELEM, |a| {
            a.text(1, self.name()).nest(2, |a| self.encode_data(a));
        });
    }

    fn encode_data(&self, a: &mut Attributes) {
        let value = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            move |a: &mut Attributes| {
                a.add(DATA_VALUE, &bytes);
            }
        };
        match self {
            Expr::Meta { key, to } | Expr::Ct { key, to } => a.number(2, *key).number(1, *to),
            Expr::Payload { base, offset, length, to } => {
                a.number(1, *to).number(2, *base).number(3, *offset).number(4, *length)
            }
            Expr::Compare { register, how, value: wanted } => {
                a.number(1, *register).number(2, *how as u32).nest(3, value(wanted))
            }
            Expr::Mask { register, mask } => {
                a.number(1, *register).number(2, *register).number(3, mask.len() as u32);
                a.nest(4, value(mask)).nest(5, value(&vec![0; mask.len()]))
            }
            Expr::FibType { flags, to } => a.number(1, *to).number(2, FIB_RESULT_ADDRTYPE).number(3, *flags),
            Expr::Lookup { set, key, member: Member::Yes } => a.text(1, set).number(2, *key),
            Expr::Lookup { set, key, member: Member::No } => {
                a.text(1, set).number(2, *key).number(5, libc::NFT_LOOKUP_F_INV as u32)
            }
            Expr::Map { set, key, to } => a.text(1, set).number(2, *key).number(3, *to),
            Expr::Dnat { family, address, port } => {
                let dnat = libc::NFT_NAT_DNAT as u32;
                a.number(1, dnat).number(2, u32::from(*family)).number(3, *address).number(5, *port)
            }
            Expr::Masquerade => a,
            Expr::Verdict(verdict) => a.number(1, libc::NFT_REG_VERDICT as u32).nest(2, |a| verdict.encode(a)),
        };
    }
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

/// A base chain as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseChain {
    pub family: u8,
    pub table: String,
    pub name: String,
    /// `None` for a chain that is only jumped to.
    pub hook: Option<u32>,
    /// NF_DROP or NF_ACCEPT.
    pub policy: Option<u32>,
}

/// A rule by its handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub family: u8,
    pub table: String,
    pub chain: String,
    pub handle: u64,
    pub comment: Option<String>,
}

pub fn table_exists(socket: &mut Socket, table: &Table<'_>) -> SysResult<bool> {
    present(socket.ask(GETTABLE, 0, &body(table, |_| {})), || format!("NFT_MSG_GETTABLE({})", table.name))
        .map(|replies| !replies.is_empty())
}

/// The comment of the element with this key: `None` where there is no such element.
pub fn element(socket: &mut Socket, table: &Table<'_>, set: &str, key: &[u8]) -> SysResult<Option<Found>> {
    let element = Element { key: key.to_vec(), ..Element::default() };
    let question = body(table, |a| {
        a.text(2, set).nest(3, |a| element.encode(a));
    });
    let replies = present(socket.ask(GETSETELEM, 0, &question), || format!("NFT_MSG_GETSETELEM({set})"))?;
    Ok(replies.first().map(|reply| Found { comment: element_comment(&reply.body) }))
}

/// An element that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub comment: Option<String>,
}

fn element_comment(reply: &[u8]) -> Option<String> {
    let list = attribute(reply.get(NFGEN..)?, 3)?;
    let element = attribute(list, LIST_ELEM)?;
    comment_of(attribute(element, 6)?)
}

/// All chains of all tables and families.
pub fn chains(socket: &mut Socket) -> SysResult<Vec<BaseChain>> {
    let all = Table { family: libc::NFPROTO_UNSPEC as u8, name: "" };
    let replies = socket.ask(GETCHAIN, NLM_F_DUMP, &body(&all, |_| {})).map_err(|e| e.named("NFT_MSG_GETCHAIN"))?;
    Ok(replies.iter().filter_map(chain).collect())
}

fn chain(reply: &Reply) -> Option<BaseChain> {
    let attributes = reply.body.get(NFGEN..)?;
    let hook = attribute(attributes, 4).and_then(|hook| number(attribute(hook, 1)?));
    Some(BaseChain {
        family: reply.body[0],
        table: string(attribute(attributes, 1)?),
        name: string(attribute(attributes, 3)?),
        hook,
        policy: attribute(attributes, 5).and_then(number),
    })
}

/// The rules of one chain; of all chains where `chain` is empty, of all tables where the table's name is.
pub fn rules(socket: &mut Socket, table: &Table<'_>, chain: &str) -> SysResult<Vec<Rule>> {
    let question = body(table, |a| {
        if !chain.is_empty() {
            a.text(2, chain);
        }
    });
    let replies = present(socket.ask(GETRULE, NLM_F_DUMP, &question), || format!("NFT_MSG_GETRULE({chain})"))?;
    Ok(replies.iter().filter_map(rule).collect())
}

fn rule(reply: &Reply) -> Option<Rule> {
    let attributes = reply.body.get(NFGEN..)?;
    Some(Rule {
        family: reply.body[0],
        table: string(attribute(attributes, 1)?),
        chain: string(attribute(attributes, 2)?),
        handle: u64::from_be_bytes(attribute(attributes, 3)?.try_into().ok()?),
        comment: attribute(attributes, 7).and_then(comment_of),
    })
}

/// Length of struct nfgenmsg.
const NFGEN: usize = 4;

/// "Not there" is an empty answer.
fn present(answer: Result<Vec<Reply>, Refused>, call: impl FnOnce() -> String) -> Result<Vec<Reply>, SysError> {
    match answer {
        Err(Refused { errno: Errno::ENOENT, .. }) => Ok(Vec::new()),
        answer => answer.map_err(|refused| refused.named(call())),
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
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

    #[test]
    fn an_attribute_is_found_among_others() {
        let mut a = Attributes::default();
        a.text(1, "x").nest(2, |a| {
            a.number(7, 9);
        });
        assert_eq!(attribute(&a.bytes, 1), Some(&b"x\0"[..]));
        assert_eq!(attribute(attribute(&a.bytes, 2).unwrap(), 7).and_then(number), Some(9));
        assert_eq!(attribute(&a.bytes, 3), None);
        assert_eq!(attribute(&a.bytes[..5], 1), None);
    }
}
