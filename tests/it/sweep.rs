//! Kills at one moment of a command after another, and how it looks after each: a line of a table in $MINIRUN_KILLS for
//! each victim and command, which hack/soak prints.

use crate::calls::Call;
use crate::killed::{Kind, assert_reusable, host, listed, run};
use crate::support::command::{eventually, seconds};
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// How many moments are tried of each victim where nobody soaks.
const SAMPLE: usize = 6;

/// How it looked after the kills of one command, and what resisted.
#[derive(Debug, Default)]
struct Tally {
    calls: usize,
    kills: usize,
    lives: usize,
    kept: usize,
    left: usize,
    failed: usize,
}

/// Kills at one moment after another, on a host that has to look in the end as it did before.
#[derive(Debug)]
pub struct Sweep {
    victim: &'static str,
    pub sandbox: Sandbox,
    before: Snapshot,
    tallies: BTreeMap<&'static str, Tally>,
    failed: Vec<String>,
}

impl Sweep {
    pub fn new(victim: &'static str) -> Sweep {
        let (sandbox, before) = host();
        Sweep { victim, sandbox, before, tallies: BTreeMap::new(), failed: Vec::new() }
    }

    /// `kill` gives the command in which somebody was killed, if somebody was.
    pub fn each(
        &mut self,
        name: &'static str,
        listing: &str,
        kinds: &[Kind],
        kill: impl Fn(&Sandbox, &Call, Kind) -> Option<&'static str>,
    ) {
        let _left_by_strace = std::fs::remove_file(self.sandbox.path("calls"));
        let calls = Call::sample(listing, SAMPLE);
        assert!(calls.len() > 2, "{name}: {calls:?}");
        for (n, call) in calls.iter().enumerate() {
            let kind = kinds[n % kinds.len()];
            let tried = catch_unwind(AssertUnwindSafe(|| {
                let command = kill(&self.sandbox, call, kind);
                (command, recovers(n / 2, &self.sandbox, &self.before))
            }));
            let command = tried.as_ref().ok().and_then(|(command, _)| *command);
            let tally = self.tallies.entry(command.or(name.rsplit(", ").next()).unwrap()).or_default();
            tally.calls += 1;
            match tried {
                Ok((None, _)) => {} // there was one call less this time
                Ok((Some(_), after)) => {
                    tally.kills += 1;
                    match after {
                        After::Nothing => {}
                        After::Lives => tally.lives += 1,
                        After::Kept => tally.kept += 1,
                        After::Left => tally.left += 1,
                    }
                }
                Err(panic) => {
                    tally.failed += 1;
                    let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    self.failed.push(format!("{} in {name} at {call:?} ({kind:?}, {n}): {why}", self.victim));
                    (self.sandbox, self.before) = host();
                }
            }
        }
    }

    /// Hands the table on, and says all that was left.
    pub fn end(self) {
        if let Some(path) = std::env::var_os("MINIRUN_KILLS") {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            for (command, tally) in &self.tallies {
                let Tally { calls, kills, lives, kept, left, failed } = tally;
                let numbers = [calls, kills, lives, kept, left, failed].map(usize::to_string).join("\t");
                writeln!(file, "{}\t{command}\t{numbers}", self.victim).unwrap();
            }
        }
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n\n"));
        let (calls, kills) =
            self.tallies.values().fold((0, 0), |sum, tally| (sum.0 + tally.calls, sum.1 + tally.kills));
        assert!(kills * 2 > calls, "of {calls} moments only {kills} came: {:?}", self.tallies);
    }
}

/// What there is of the container after a kill.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Nothing,
    Lives,
    /// It is stopped, or was never started, and holds nothing.
    Kept,
    Left,
}

fn after(sandbox: &Sandbox, before: &Snapshot, list: &str) -> After {
    if list.contains("Up") {
        return After::Lives;
    }
    if list.contains("Dead") {
        return After::Left;
    }
    let kept = list.contains("Exited") || list.contains("Created");
    // the kernel takes a network namespace down some time after its last process
    let end = Instant::now() + seconds(1);
    loop {
        let changes = before.changes(&Snapshot::of(sandbox));
        if changes.iter().all(|line| kept && line.starts_with("+ minirun root: ")) {
            return if kept { After::Kept } else { After::Nothing };
        }
        if Instant::now() > end {
            return After::Left;
        }
    }
}

/// Whatever was killed: `ps` answers, name, address and port are free when a container that stays is removed, and repair
/// leaves nothing but such a container.
fn recovers(n: usize, sandbox: &Sandbox, before: &Snapshot) -> After {
    let list = settled(sandbox);
    let after = after(sandbox, before, &list);
    let stays = |list: &str| ["Up", "Exited", "Created"].iter().any(|word| list.contains(word));
    if n.is_multiple_of(2) {
        if stays(&list) {
            remove(sandbox);
        } else if sandbox.minirun(&run(&["--rm"], &["true"])).code() != 0 {
            // it was dead; its program had run, and what that wrote may be wanted
            assert!(listed(sandbox).contains("Exited (unknown)"));
            remove(sandbox);
        }
        assert_reusable(sandbox);
    }
    sandbox.minirun(&["repair"]).expect_code(0);
    let list = settled(sandbox);
    if list.contains("web") {
        assert!(stays(&list), "{list}");
        if !list.contains("Up") {
            before.assert_only(sandbox, |line| line.starts_with("+ minirun root: "));
        }
        remove(sandbox);
    }
    before.assert_same(sandbox);
    after
}

/// `ps -a` at once, and once more when nobody is at work on a container.
fn settled(sandbox: &Sandbox) -> String {
    let mut list = listed(sandbox);
    eventually("nobody is at work on it", seconds(20), || {
        list = listed(sandbox);
        !["Starting", "Ending"].iter().any(|status| list.contains(status))
    });
    list
}

/// A container whose command was killed at its birth was up, as far as `ps` can see, and may be gone by itself.
fn remove(sandbox: &Sandbox) {
    let said = sandbox.minirun(&["rm", "-f", "web"]);
    assert!(said.code() == 0 || !listed(sandbox).contains("web"), "{said}");
}
