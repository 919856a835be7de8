//! Two texts as diff(1) -u shows them: E. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986). Pure.

/// Lines before and after a change.
const CONTEXT: usize = 3;
/// Changed lines up to which the shortest way is looked for: memory goes with the square. More are shown as one block.
const MAX_EDITS: usize = 1500;

/// A line of both, of the first, of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Delete,
    Add,
}

/// The hunks with their head; nothing where the texts are the same.
pub fn unified(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let edits = edits(&a, &b);
    if edits.iter().all(|edit| *edit == Edit::Keep) {
        return String::new();
    }
    let mut text = format!("--- {old_name}\n+++ {new_name}\n");
    let changed: Vec<usize> = edits.iter().enumerate().filter(|(_, e)| **e != Edit::Keep).map(|(at, _)| at).collect();
    for hunk in changed.chunk_by(|one, next| next - one <= 2 * CONTEXT + 1) {
        let (first, last) = (hunk[0].saturating_sub(CONTEXT), hunk[hunk.len() - 1] + CONTEXT);
        let range = first..(last + 1).min(edits.len());
        let count = |edits: &[Edit], not: Edit| edits.iter().filter(|edit| **edit != not).count();
        let (mut i, mut j) = (count(&edits[..first], Edit::Add), count(&edits[..first], Edit::Delete));
        let span = |at: usize, length: usize| match length {
            0 => format!("{at},0"),
            1 => format!("{}", at + 1),
            _ => format!("{},{length}", at + 1),
        };
        let within = &edits[range];
        let (of_old, of_new) = (span(i, count(within, Edit::Add)), span(j, count(within, Edit::Delete)));
        text += &format!("@@ -{of_old} +{of_new} @@\n");
        for edit in within {
            let (sign, line) = match edit {
                Edit::Keep => (' ', a[i]),
                Edit::Delete => ('-', a[i]),
                Edit::Add => ('+', b[j]),
            };
            i += usize::from(*edit != Edit::Add);
            j += usize::from(*edit != Edit::Delete);
            text.push(sign);
            text += line;
            if !line.ends_with('\n') {
                text += "\n\\ No newline at end of file\n";
            }
        }
    }
    text
}

fn edits(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[head..], &b[head..]);
    let tail = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (mid_a, mid_b) = (&rest_a[..rest_a.len() - tail], &rest_b[..rest_b.len() - tail]);
    let mut edits = vec![Edit::Keep; head];
    edits.extend(shortest(mid_a, mid_b).unwrap_or_else(|| {
        let mut all = vec![Edit::Delete; mid_a.len()];
        all.resize(mid_a.len() + mid_b.len(), Edit::Add);
        all
    }));
    edits.resize(edits.len() + tail, Edit::Keep);
    edits
}

/// `None` where it is too long.
fn shortest(a: &[&str], b: &[&str]) -> Option<Vec<Edit>> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let most = (a.len() + b.len()).min(MAX_EDITS) as isize;
    let middle = most + 1;
    let mut furthest = vec![0_isize; 2 * middle as usize + 1];
    let mut trace: Vec<Vec<isize>> = Vec::new();
    for d in 0..=most {
        // as much as this round can have changed; index 0 stands for diagonal -d-1
        trace.push(furthest[(middle - d - 1).max(0) as usize..=(middle + d + 1) as usize].to_vec());
        for k in (-d..=d).step_by(2) {
            let add = down(&furthest, k, d, middle);
            let mut x = if add { furthest[(middle + k + 1) as usize] } else { furthest[(middle + k - 1) as usize] + 1 };
            while x < n && x - k < m && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            furthest[(middle + k) as usize] = x;
            if x >= n && x - k >= m {
                return Some(walk_back(&trace, n, m));
            }
        }
    }
    None
}

/// Whether the furthest way to diagonal `k` with `d` changes ends with an added line, and not with a deleted one.
fn down(furthest: &[isize], k: isize, d: isize, middle: isize) -> bool {
    let at = |k: isize| furthest[(middle + k) as usize];
    k == -d || (k != d && at(k - 1) < at(k + 1))
}

fn walk_back(trace: &[Vec<isize>], n: isize, m: isize) -> Vec<Edit> {
    let (mut x, mut y) = (n, m);
    let mut edits = Vec::new();
    for (d, furthest) in trace.iter().enumerate().rev() {
        let (d, k) = (d as isize, x - y);
        let middle = d + 1;
        let add = down(furthest, k, d, middle);
        let before = if add { k + 1 } else { k - 1 };
        let from = if d == 0 { 0 } else { furthest[(middle + before) as usize] };
        let start = if d == 0 { 0 } else { from + isize::from(!add) };
        while x > start {
            edits.push(Edit::Keep);
            x -= 1;
        }
        if d > 0 {
            edits.push(if add { Edit::Add } else { Edit::Delete });
            x = from;
        }
        y = x - before;
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_what_diff_says() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n10\n", "\nten\n").replace("20\n", "20\n21");
        let want = "--- a\n+++ b\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n@@ -18,3 +18,4 @@\n 18\n 19\n 20\n+21\n\
                    \\ No newline at end of file\n";
        assert_eq!(unified("a", &old, "b", &new), want);
        assert_eq!(unified("a", &old, "b", &old), "");
        assert_eq!(unified("a", "", "b", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(unified("a", "x\n", "b", ""), "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n");
    }

    proptest! {
        #[test]
        fn the_edits_make_one_of_the_other(a in "[abc\n]{0,60}", b in "[abc\n]{0,60}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.split_inclusive('\n').collect(), b.split_inclusive('\n').collect());
            let edits = edits(&a, &b);
            let (mut i, mut made) = (0, Vec::new());
            for edit in edits {
                match edit {
                    Edit::Keep => { made.push(a[i]); i += 1 }
                    Edit::Delete => i += 1,
                    Edit::Add => made.push(b[made.len()]),
                }
            }
            prop_assert_eq!(i, a.len());
            prop_assert_eq!(made, b);
        }
    }
}
