//! What a run finds of the one before it: which records are settled, and which may have been applied without our knowing.
//!
//! ```text
//!   checkpoint ─┬─ offset ───────────▶ where each route reads on
//!               ├─ settlements_from ─▶ settled ranges above it
//!               └─ batches_from ─────▶ intents − settlements that name them = suspects
//! ```
//!
//! A **suspect** is a record of a batch that was journalled and is not known to be answered: the target may hold it or not, so it is
//! read back before anything of its keys is sent again. The request of the dead process may still be under way in the
//! target, so nothing is read back before a grace after the intent.
//!
//! A batch that went by a job is not read back: the job is asked (`Sink::adopt`), which knows each row's end for days. One whose
//! job is not named in the journal never uploaded anything.
//!
//! **After a power cut** an applied row's settlement may be missing (successors are released when it is accepted, not when it is
//! durable). It is then a suspect with a later suspect of the same key in a later batch; that later batch was journalled
//! only after the earlier row was settled as applied, so the earlier one counts as applied: reading it back would show the
//! later one's value and send an older value over it.

mod replay;
mod suspects;

pub(crate) use replay::rows_of;
pub use replay::{Recovered, RecoveredRoute, Unanswered, recover};
pub use suspects::{Suspect, Suspects, Way};
