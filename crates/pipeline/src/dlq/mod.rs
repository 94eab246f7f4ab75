//! Dead letters: records that could not be applied, kept with reason and original bytes until somebody decides.
//!
//! ```text
//!   bury:    _dead_letters (durable) ─▶ index ─▶ settlement dead_lettered (durable) ─▶ successors released
//!   retry:   index: retried + command + act ─▶ a run puts the record back behind what is unsettled of its key ─▶ resolved | open
//!   edit:    index: values beside the original's + act, then as a retry
//!   drop:    index: dropped + act
//! ```
//!
//! The stream holds the truth, the index in the state store the decisions. A crash between the two is healed when a run starts: what the
//! stream has and the index has not is added.
//!
//! **A retry never overwrites a newer value.** When the dead letter's turn comes, everything that was read of its keys before is
//! settled, and what is read later waits. Columns that a newer applied record of the row carried are left out; when
//! nothing remains, the dead letter is settled as superseded.
//!
//! **A secret column's value is shown nowhere.** What a target says is stored without it; `show` puts a mark in its place.

mod acts;
mod command;
mod decide;
mod edit;
mod index;
mod letter;
mod redrive;
mod secret;
mod surface;

pub use acts::{Act, Deed, Operator, acts};
pub use command::RetryOptions;
pub use decide::{Decision, decide, decide_all, edit};
pub use edit::DlqEdit;
pub use index::{DlqEntry, DlqStatus};
pub use secret::{REDACTED, redact_value};
pub use surface::{DlqError, DlqFilter, DlqShown, list, show};

pub(crate) use command::{adopt_old, delete as delete_command, lowest as lowest_commands};
pub(crate) use edit::edited;
pub(crate) use index::{entry_at, heal, load, put_entry};
pub(crate) use letter::{Burial, Buried, bury, find, parse_letter};
pub(crate) use redrive::{Newer, remaining};
pub(crate) use secret::redact_message;
