//! The router: by which API a route's ready rows go.
//!
//! Pure: everything that it looks at is handed in (`Question`), and it answers with an API, a number of rows and the reason.
//!
//! ```text
//!   route says `api: X` ─▶ X        a rule matches ─▶ its API        an event object ─▶ Pub/Sub, or events by REST
//!   otherwise: of the ways that can carry the rows, the cheapest in quota that meets the deadline; if none does, the fastest
//! ```
//!
//! **Cost** is what a way takes of each allocation as a part of what is left of it: a scarce allocation is dear. **Speed** is
//! what was measured (`Pace`); until then, what the reference tells of real orgs.
//!
//! The default, as a matrix of criticality and volume:
//!
//! | lane | a few rows | from `bulk_from` rows on |
//! |---|---|---|
//! | `critical` | Collections | Collections: a job's time is not ours |
//! | `standard` | Collections | the cheaper of both that meets the deadline: Bulk from some 4,000 rows on |
//! | `bulk` | Collections, after a short wait for more while a copy runs | the same |

mod choice;
mod pace;
mod rules;
#[cfg(test)]
mod tests;

pub use choice::{Choice, Left, Question, Way, choose, drain_time, price};
pub use pace::{Pace, Paces};
pub use rules::{ApiRule, ApiSetting, RouterSpec};
