//! Classic BPF for a choice by ranges: a binary tree, so that no system call waits for a list of all others. Pure.

/// Codes of linux/bpf_common.h.
pub(super) const LD_ABS: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const JA: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RET: u16 = 0x06; // BPF_RET | BPF_K

/// `struct sock_filter` as a word.
pub(super) const fn insn(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    code as u64 | (jt as u64) << 16 | (jf as u64) << 24 | (k as u64) << 32
}

pub(super) const fn ret(action: u32) -> u64 {
    insn(RET, 0, 0, action)
}

/// From this value on, up to the next range, the code decides; it never falls through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u32,
    pub(super) code: Vec<u64>,
}

/// Chooses by the accumulator. The first range is taken for whatever is below the second.
pub(super) fn tree(ranges: &[Range]) -> Vec<u64> {
    let [only] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let pivot = high[0].from;
        let (low, high) = (tree(low), tree(high));
        // a conditional jump reaches 255 instructions, an unconditional one all
        let mut code = match u8::try_from(low.len()) {
            Ok(distance) => vec![insn(JGE, distance, 0, pivot)],
            Err(_) => vec![insn(JGE, 0, 1, pivot), insn(JA, 0, 0, low.len() as u32)],
        };
        code.extend(low);
        code.extend(high);
        return code;
    };
    only.code.clone()
}

/// Neighbours with the same code become one.
pub(super) fn merge(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::new();
    for range in ranges {
        if merged.last().is_none_or(|last| last.code != range.code) {
            merged.push(range);
        }
    }
    merged
}
