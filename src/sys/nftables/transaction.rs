//! Changes to nf_tables that the kernel takes all together or not at all.

use super::{
    Chain, DATA_VALUE, DATA_VERDICT, Data, Element, Expr, LIST_ELEM, Member, Rule, SUBSYSTEM, Set, Table, Verdict,
    body, user_comment,
};
use crate::sys::netlink::{Attributes, Batch, Refused, Socket};
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

const NEWTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_NEWTABLE as u16;
const DELTABLE: u16 = SUBSYSTEM | libc::NFT_MSG_DELTABLE as u16;
const NEWCHAIN: u16 = SUBSYSTEM | libc::NFT_MSG_NEWCHAIN as u16;
const NEWRULE: u16 = SUBSYSTEM | libc::NFT_MSG_NEWRULE as u16;
const DELRULE: u16 = SUBSYSTEM | libc::NFT_MSG_DELRULE as u16;
const NEWSET: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSET as u16;
const NEWSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_NEWSETELEM as u16;
const DELSETELEM: u16 = SUBSYSTEM | libc::NFT_MSG_DELSETELEM as u16;

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

impl Element {
    pub(super) fn encode(&self, a: &mut Attributes) {
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
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
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
            Expr::Immediate { to, value: wanted } => a.number(1, *to).nest(2, value(wanted)),
            Expr::Verdict(verdict) => a.number(1, libc::NFT_REG_VERDICT as u32).nest(2, |a| verdict.encode(a)),
        };
    }
}
