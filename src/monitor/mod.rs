//! One small process per container, and one per `exec`: it is the parent of the container's process, writes down what
//! it is about to do, does it, serves the program's streams, waits for the end, and undoes it. It prints nothing: all
//! it has to say goes to the commands in front of it, and to a log where there are none.

mod adopt;
mod again;
mod client;
mod health;
mod live;
pub mod log;
pub mod notes;
pub mod protocol;
mod resolver;
mod serve;
pub mod spawn;
mod streams;

pub use live::main;
