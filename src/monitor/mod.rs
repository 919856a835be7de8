//! One small process per container, and one per `exec`: it is the parent of the container's process, writes down what
//! it is about to do, does it, waits for the end, and undoes it. It prints nothing: all it has to say goes to the
//! command that started it, which may be gone.

mod live;
pub mod protocol;
pub mod spawn;

pub use live::main;
