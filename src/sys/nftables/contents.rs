//! A whole table as the kernel lists it, without what differs between two tables that are alike: handles, counts and
//! positions. What was written by one and the same transaction compares equal.

use super::{LIST_ELEM, SUBSYSTEM, Table, body, query};
use crate::error::SysResult;
use crate::sys::netlink::{Reply, Socket, attribute};
use rtnetlink::packet_core::{NLM_F_DUMP, NlasIterator};
use std::collections::BTreeMap;

const GETTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_GETTABLE as u16;
const GETCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_GETCHAIN as u16;
const GETRULE: u16 = SUBSYSTEM | libc::NFT_MSG_GETRULE as u16;
const GETSET: u16 = SUBSYSTEM | libc::NFT_MSG_GETSET as u16;
const GETSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_GETSETELEM as u16;

/// What a table consists of; only good for comparing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The table's own flags.
    pub table: Vec<u8>,
    /// By name: the hook, then its rules in order.
    pub chains: BTreeMap<String, Vec<Vec<u8>>>,
    /// By name.
    pub sets: BTreeMap<String, SetContents>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetContents {
    /// Types and flags.
    pub definition: Vec<u8>,
    /// By key (of an interval's end, too), what else they have.
    pub elements: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// `None` where there is no such table.
pub fn contents(socket: &mut Socket, table: &Table<'_>) -> SysResult<Option<Contents>> {
    let Some(found) = ask(socket, GETTABLE, 0, table, "")?.into_iter().next() else { return Ok(None) };
    let mut contents = Contents { table: kept(&found, &[TABLE_FLAGS]), ..Contents::default() };
    // what the kernel lists of chains is those of a whole family
    for reply in ask(socket, GETCHAIN, NLM_F_DUMP, table, "")?.iter().filter(|reply| is_of(reply, table)) {
        contents.chains.insert(text(reply, CHAIN_NAME), vec![kept(reply, &CHAIN_KEPT)]);
    }
    for reply in ask(socket, GETRULE, NLM_F_DUMP, table, "")?.iter().filter(|reply| is_of(reply, table)) {
        contents.chains.entry(text(reply, RULE_CHAIN)).or_default().push(kept(reply, &[RULE_EXPRESSIONS]));
    }
    for reply in ask(socket, GETSET, NLM_F_DUMP, table, "")?.iter().filter(|reply| is_of(reply, table)) {
        let name = text(reply, SET_NAME);
        let mut set = SetContents { definition: kept(reply, &SET_KEPT), ..SetContents::default() };
        for part in ask(socket, GETSETELEM, NLM_F_DUMP, table, &name)? {
            let list =
                part.body.get(NFGEN..).and_then(|attributes| attribute(attributes, ELEMENTS)).unwrap_or_default();
            let of_list = NlasIterator::new(list).flatten().filter(|one| one.kind() == LIST_ELEM);
            set.elements.extend(of_list.map(|one| element(one.value())));
        }
        contents.sets.insert(name, set);
    }
    Ok(Some(contents))
}

// NFTA_TABLE_FLAGS; NFTA_CHAIN_NAME; hook, policy and type of a chain; NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS;
// NFTA_SET_NAME; flags, types and lengths of a set; NFTA_SET_ELEM_LIST_ELEMENTS
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_KEPT: [u16; 3] = [4, 5, 7];
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_NAME: u16 = 2;
const SET_KEPT: [u16; 5] = [3, 4, 5, 6, 7];
const ELEMENTS: u16 = 3;
/// NFTA_SET_ELEM_KEY, and of an element besides: data, flags, the user's data.
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_KEPT: [u16; 3] = [2, ELEMENT_FLAGS, 6];

/// Length of struct nfgenmsg.
const NFGEN: usize = 4;

fn ask(socket: &mut Socket, kind: u16, flags: u16, table: &Table<'_>, set: &str) -> SysResult<Vec<Reply>> {
    let question = body(table, |a| {
        if !set.is_empty() {
            a.text(2, set);
        }
    });
    let call = || format!("nf_tables message {:#x} of {} {set}", kind & 0xff, table.name);
    query::present(socket.ask(kind, flags, &question), call)
}

fn is_of(reply: &Reply, table: &Table<'_>) -> bool {
    reply.body.first() == Some(&table.family) && text(reply, super::TABLE) == table.name
}

fn text(reply: &Reply, kind: u16) -> String {
    reply.body.get(NFGEN..).and_then(|attributes| attribute(attributes, kind)).map(query::string).unwrap_or_default()
}

/// These attributes, each behind its number and its length.
fn kept(reply: &Reply, kinds: &[u16]) -> Vec<u8> {
    of(reply.body.get(NFGEN..).unwrap_or_default(), kinds)
}

fn of(attributes: &[u8], kinds: &[u16]) -> Vec<u8> {
    let found = kinds.iter().filter_map(|kind| Some((*kind, attribute(attributes, *kind)?)));
    found.flat_map(|(kind, value)| [&kind.to_ne_bytes()[..], &value.len().to_ne_bytes(), value].concat()).collect()
}

fn element(attributes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = attribute(attributes, ELEMENT_KEY).and_then(|key| attribute(key, super::DATA_VALUE)).unwrap_or_default();
    (key.to_vec(), of(attributes, &ELEMENT_KEPT))
}
