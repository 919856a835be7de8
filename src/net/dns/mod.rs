//! What a container's resolver knows: names of the containers in its networks. Messages as they go over the wire, and
//! what is answered to them. Pure; the sockets are the monitor's (`monitor::resolver`).

pub mod message;
pub mod redirect;
pub mod zone;
