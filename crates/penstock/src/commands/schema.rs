//! `penstock schema`.

use crate::config;
use crate::output::Answer;

/// Prints the configuration's JSON Schema.
pub fn run() -> Answer {
    let schema = config::schema();
    let text = format!("{schema:#}\n");
    Answer::done("", text, schema)
}
