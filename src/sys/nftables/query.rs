//! Questions to nf_tables. What is not there is an empty answer.

use super::{Element, LIST_ELEM, SUBSYSTEM, Table, body, comment_of};
use crate::error::{Errno, SysError, SysResult};
use crate::sys::netlink::{Refused, Reply, Socket, attribute};
use rtnetlink::packet_core::{NLM_F_DUMP, NlasIterator};

const GETTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_GETTABLE as u16;
const GETCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_GETCHAIN as u16;
const GETRULE: u16 = SUBSYSTEM | libc::NFT_MSG_GETRULE as u16;
const GETSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_GETSETELEM as u16;

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
    /// The chain that it jumps or goes to.
    pub jumps_to: Option<String>,
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
        jumps_to: attribute(attributes, 4).and_then(jump),
        comment: attribute(attributes, 7).and_then(comment_of),
    })
}

/// Of a rule's expressions: the `immediate` that has a chain in its verdict (NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT,
/// NFTA_VERDICT_CHAIN).
fn jump(expressions: &[u8]) -> Option<String> {
    let all = NlasIterator::new(expressions).flatten().filter(|one| one.kind() == LIST_ELEM);
    let chain = |expression: &[u8]| {
        let is = attribute(expression, 1).is_some_and(|name| string(name) == "immediate");
        let verdict = attribute(attribute(attribute(expression, 2).filter(|_| is)?, 2)?, 2)?;
        Some(string(attribute(verdict, 2)?))
    };
    all.filter_map(|one| chain(one.value())).next()
}

/// Length of struct nfgenmsg.
const NFGEN: usize = 4;

/// "Not there" is an empty answer.
pub(super) fn present(
    answer: Result<Vec<Reply>, Refused>,
    call: impl FnOnce() -> String,
) -> Result<Vec<Reply>, SysError> {
    match answer {
        Err(Refused { errno: Errno::ENOENT, .. }) => Ok(Vec::new()),
        answer => answer.map_err(|refused| refused.named(call())),
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netlink::Attributes;

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
