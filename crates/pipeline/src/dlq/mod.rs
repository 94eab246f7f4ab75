//! Dead letters: records that could not be applied, kept with reason and original bytes until somebody decides.
//!
//! ```text
//!   bury:    _dead_letters (durable) ─▶ index ─▶ settlement dead_lettered (durable) ─▶ successors released
//!   retry:   index: retried + command ─▶ a run puts the record back behind what is unsettled of its key ─▶ resolved | open
//!   drop:    index: dropped
//! ```
//!
//! The stream holds the truth, the index in the state store the decisions. A crash between the two is healed when a run starts: what the
//! stream has and the index has not is added.
//!
//! **A retry never overwrites a newer value.** When the dead letter's turn comes, everything that was read of its keys before is
//! settled, and what is read later waits. Columns that a newer applied record of the row carried are left out; when
//! nothing remains, the dead letter is settled as superseded.

mod index;
mod letter;
mod redrive;
mod surface;

pub use index::{DlqEntry, DlqStatus};
pub use surface::{DlqError, DlqFilter, DlqShown, drop, list, retry, show};

pub(crate) use index::{entry_at, heal, id_key, load, put_entry};
pub(crate) use letter::{Burial, Buried, bury, find, parse_letter};
pub(crate) use redrive::{Newer, remaining};
pub(crate) use surface::{COMMAND_PREFIX, COMMAND_SPACE};
