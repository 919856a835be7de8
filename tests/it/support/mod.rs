//! What the tests share. It uses no module of minirun: what it says of the system it has from other tools.

pub mod source;
