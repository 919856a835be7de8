//! Trees of files as tar streams: out of a root that nobody trusts, into one, and what a container has changed as a
//! layer. Nothing here follows a link out of a root, and nothing opens what is no regular file or directory.

mod changes;
mod commit;
mod ids;
mod pack;
mod place;
mod walk;

pub use changes::{Change, ChangeKind, changes};
pub use commit::{Commit, changed_entries, commit, flat_entries, layer_entries};
pub use ids::Ids;
pub use pack::{pack, pack_but};
pub use place::{Links, Owners, Placing, Special, place};
pub use walk::Mounts;
