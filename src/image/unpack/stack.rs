//! The layers of one image while they become directories, several at the same time: each is begun as soon as a thread
//! is free, the lowest first, and what looks at those below waits until they are whole.

use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::image::layer::Blob;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Layers unpacked at the same time: as many as a pull has on their way, so that none waits for one that is not.
/// Each takes some 2 MiB, or with zstd as much as its window (at most 128 MiB).
const AT_ONCE: usize = 3;
/// And so many more, while others wait for those below them.
const WAITING: usize = 3;

/// Is told why layers could not be unpacked.
pub(super) type Told<'t> = &'t (dyn Fn(&Error) + Sync);

#[derive(Debug)]
pub(super) struct Stack {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// For each layer, lowest first.
    dirs: Vec<Option<HostPath>>,
    /// The layers below are whole, or some thread has them.
    next: usize,
    /// How many are being unpacked, without those that wait.
    busy: usize,
    /// The first trouble, which stops all others.
    failure: Option<Failed>,
}

/// Why the layers of an image are not unpacked, and which of them is to blame, where one is.
#[derive(Debug)]
pub(in crate::image) struct Failed {
    pub error: Error,
    pub layer: Option<usize>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, layer: None }
    }
}

impl Stack {
    /// With the directories that are there already.
    pub(super) fn new(dirs: Vec<Option<HostPath>>) -> Stack {
        let state = State { dirs, next: 0, busy: 0, failure: None };
        Stack { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Has `unpack` make the directories that are missing; it is given the number of the layer. `failed` is told of the
    /// first trouble.
    pub(super) fn fill(
        self,
        unpack: impl Fn(&Stack, usize) -> Result<HostPath> + Sync,
        failed: Told<'_>,
    ) -> Result<Vec<HostPath>, Failed> {
        let work = || {
            while let Some(number) = self.begin() {
                self.end(number, unpack(&self, number), failed);
            }
        };
        let missing = self.state().dirs.iter().filter(|dir| dir.is_none()).count();
        std::thread::scope(|scope| {
            (1..missing.min(AT_ONCE + WAITING)).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some(failed) => Err(failed),
            None => Ok(state.dirs.into_iter().flatten().collect()),
        }
    }

    /// Waits for the directories of all layers below this one, lowest first.
    pub(super) fn below(&self, number: usize) -> Result<Vec<HostPath>> {
        let mut state = self.state();
        let below = |state: &State| match state.failure {
            Some(_) => Some(Err(Error::image(STOPPED))),
            None => state.dirs[..number].iter().cloned().collect::<Option<_>>().map(Ok),
        };
        if let Some(all) = below(&state) {
            return all;
        }
        // another one may be begun meanwhile
        state.busy -= 1;
        self.changed.notify_all();
        loop {
            state = self.wait(state);
            if let Some(all) = below(&state) {
                state.busy += 1;
                return all;
            }
        }
    }

    /// The bytes of a layer, which end in an error when another one has failed.
    pub(super) fn unless_stopped<'a>(&'a self, blob: Blob<'a>) -> impl Read + Send + 'a {
        UnlessStopped { stack: self, blob }
    }

    /// The next that is missing, once there is room for it; `None` where there is none, or no use any more.
    fn begin(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            let number = (state.next..state.dirs.len()).find(|number| state.dirs[*number].is_none())?;
            if state.failure.is_some() {
                return None;
            }
            if state.busy < AT_ONCE {
                (state.next, state.busy) = (number + 1, state.busy + 1);
                return Some(number);
            }
            state = self.wait(state);
        }
    }

    fn end(&self, number: usize, unpacked: Result<HostPath>, failed: Told<'_>) {
        let mut state = self.state();
        state.busy -= 1;
        match unpacked {
            Ok(dir) => state.dirs[number] = Some(dir),
            Err(error) if state.failure.is_none() => {
                failed(&error); // who is stopped by that finds the failure here: nobody else's is told
                state.failure = Some(Failed { error, layer: Some(number) });
            }
            Err(_) => {}
        }
        self.changed.notify_all();
    }

    fn wait<'s>(&'s self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never shown: the first trouble is.
const STOPPED: &str = "another layer could not be unpacked";

struct UnlessStopped<'a> {
    stack: &'a Stack,
    blob: Blob<'a>,
}

impl Read for UnlessStopped<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stack.state().failure.is_some() {
            return Err(io::Error::other(STOPPED));
        }
        self.blob.read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn dir(number: usize) -> HostPath {
        HostPath::parse(&format!("/{number}")).unwrap()
    }

    #[test]
    fn layers_are_made_side_by_side_and_those_that_are_there_are_not() {
        let met = Barrier::new(AT_ONCE);
        let mut dirs = vec![None; AT_ONCE + 1];
        dirs[1] = Some(dir(1));
        let stack = Stack::new(dirs);
        let dirs = stack.fill(
            |_, number| {
                assert_ne!(number, 1);
                met.wait(); // nobody comes further before all are here
                Ok(dir(number))
            },
            &|_| {},
        );
        assert_eq!(dirs.unwrap(), (0..=AT_ONCE).map(dir).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_looks_below_waits_for_all_of_it() {
        let stack = Stack::new(vec![None; 9]);
        let dirs = stack.fill(
            |stack, number| {
                assert_eq!(stack.below(number).unwrap(), (0..number).map(dir).collect::<Vec<_>>());
                Ok(dir(number))
            },
            &|_| {},
        );
        assert_eq!(dirs.unwrap().len(), 9);
    }

    #[test]
    fn one_that_waits_makes_room_for_another() {
        let met = Barrier::new(AT_ONCE);
        let dirs = Stack::new(vec![None; AT_ONCE + 1]).fill(
            |stack, number| {
                match number {
                    1 => assert_eq!(stack.below(1).unwrap(), [dir(0)]),
                    _ => drop(met.wait()), // the lowest is not whole before the highest was begun
                }
                Ok(dir(number))
            },
            &|_| {},
        );
        assert_eq!(dirs.unwrap().len(), AT_ONCE + 1);
    }

    #[test]
    fn the_first_trouble_stops_the_others_and_is_what_is_told() {
        let (stack, told) = (Stack::new(vec![None; 9]), Mutex::new(Vec::new()));
        let failed = stack.fill(
            |stack, number| match number {
                0 => Err(Error::image("broken")),
                _ => {
                    let mut endless = stack.unless_stopped(Box::new(io::repeat(0)));
                    let read = io::copy(&mut endless, &mut io::sink()).map_err(|e| Error::image(e.to_string()));
                    assert!(stack.below(number).is_err());
                    read.map(|_| dir(number))
                }
            },
            &|error| told.lock().unwrap().push(error.message.clone()),
        );
        assert_eq!(*told.lock().unwrap(), ["broken"]);
        let failed = failed.unwrap_err();
        assert_eq!((failed.error.message.as_str(), failed.layer), ("broken", Some(0)));
    }
}
