//! Whether a container that has ended is started again, when, and how: the monitor, which has nothing left to look
//! after, waits and then becomes the command that starts it.

use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::state::Roots;
use crate::state::container::{RestartPolicy, Restarts};
use crate::sys::credentials;
use crate::sys::process::{self, Exit};
use std::time::Duration;

/// docker's: twice as long each time, and from the beginning after a run of some length.
const FIRST: u64 = 100;
const LONGEST: u64 = 60_000;
const LONG_RUN: Duration = Duration::from_secs(10);

/// What its policy says of a container that has run for `ran` and ended without having been asked to: the restart that
/// comes, where `before` were.
pub(super) fn decide(policy: RestartPolicy, exit: Option<Exit>, ran: Duration, before: Restarts) -> Option<Restarts> {
    let failed = exit != Some(Exit::Code(0));
    let wanted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => failed && most.is_none_or(|most| before.count < most),
    };
    let delay = match before.delay {
        0 => FIRST,
        _ if ran >= LONG_RUN => FIRST,
        delay => (delay * 2).min(LONGEST),
    };
    wanted.then_some(Restarts { count: before.count + 1, delay })
}

/// Waits so many milliseconds, and goes on as `minirun start --again`. Returns only where it cannot.
pub(super) fn wait_and_start(roots: &Roots, id: &ContainerId, delay: u64) -> Error {
    std::thread::sleep(Duration::from_millis(delay));
    let become_command = || -> Result<std::convert::Infallible> {
        credentials::reset_signals()?;
        let words = ["minirun", "--root", roots.root.as_str(), "--state", roots.state.as_str()];
        let words = words.into_iter().chain(["--config", roots.config.as_str(), "start", "--again", id.as_str()]);
        Ok(process::exec_self_protected(&words.map(str::to_owned).collect::<Vec<_>>(), &[])?)
    };
    match become_command() {
        Err(error) => error.during("starting the container again"),
        Ok(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn a_policy_says_when() {
        let again = |policy, code, count| {
            let before = Restarts { count, delay: 0 };
            decide(policy, Some(Exit::Code(code)), SHORT, before).is_some()
        };
        for (policy, code, count, want) in [
            (RestartPolicy::No, 1, 0, false),
            (RestartPolicy::Always, 0, 0, true),
            (RestartPolicy::UnlessStopped, 0, 1000, true),
            (RestartPolicy::OnFailure(None), 0, 0, false),
            (RestartPolicy::OnFailure(None), 1, 1000, true),
            (RestartPolicy::OnFailure(Some(3)), 1, 2, true),
            (RestartPolicy::OnFailure(Some(3)), 1, 3, false),
        ] {
            assert_eq!(again(policy, code, count), want, "{policy:?} {code} {count}");
        }
        // killed, or nobody knows
        assert!(decide(RestartPolicy::OnFailure(None), Some(Exit::Signal(9)), SHORT, Restarts::default()).is_some());
        assert!(decide(RestartPolicy::OnFailure(None), None, SHORT, Restarts::default()).is_some());
    }

    #[test]
    fn it_waits_twice_as_long_each_time_up_to_a_minute() {
        let mut restarts = Restarts::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            restarts = decide(RestartPolicy::Always, None, SHORT, restarts).unwrap();
            delays.push(restarts.delay);
        }
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[11], 60_000);
        let after = decide(RestartPolicy::Always, None, LONG_RUN, restarts).unwrap();
        assert_eq!((after.count, after.delay), (13, 100));
    }
}
