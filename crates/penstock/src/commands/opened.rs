//! A pipeline's data folder, opened for reading beside a running pipeline, or for small writes to its state.

use crate::config::{Config, Places, load_file};
use crate::output::{Answer, Problem};
use crate::wiring::{DataDir, log_options};
use contract::SystemClock;
use log_store::LogStore;
use model::ErrorCode;
use state_store::StateStore;
use std::path::Path;
use std::sync::Arc;

/// An opened data folder.
pub(crate) struct Opened {
    pub config: Config,
    pub places: Places,
    pub log: Arc<LogStore>,
    pub state: Arc<StateStore>,
}

/// An error of any room as every surface shows it.
pub(crate) fn problem(code: ErrorCode, place: impl Into<String>, error: &dyn std::error::Error) -> Problem {
    let text = error.to_string();
    let cause = text.strip_prefix(&format!("{code}: ")).unwrap_or(&text).to_owned();
    Problem { code: code.to_string(), place: place.into(), cause, fix: format!("see `penstock explain {code}`") }
}

/// Opens the folder that a configuration names. `write`: the state may be written to.
///
/// # Errors
/// An answer that says what is wrong: the configuration (exit 2), or the folder (exit 1).
pub(crate) fn open(config_file: &Path, write: bool) -> Result<Opened, Box<Answer>> {
    let loaded = load_file(config_file);
    let Some(config) = loaded.config else { return Err(Box::new(Answer::findings(&loaded.findings, true, ""))) };
    let data = DataDir::new(&config.data_dir);
    let place = data.path().display().to_string();
    if !data.state().exists() || !data.log().exists() {
        return Err(Box::new(Answer::failed(Problem {
            code: "PS1104".into(),
            place,
            cause: "no pipeline has run on this data folder yet".into(),
            fix: "run it first (`penstock run`), or correct data_dir".into(),
        })));
    }
    let clock = Arc::new(SystemClock::new());
    let log = LogStore::open_read_only(&data.log(), log_options(&config), clock)
        .map_err(|error| Box::new(Answer::failed(problem(error.code(), &place, &error))))?;
    let state = if write { StateStore::open(&data.state()) } else { StateStore::open_read_only(&data.state()) };
    let state = state.map_err(|error| Box::new(Answer::failed(problem(error.code(), &place, &error))))?;
    Ok(Opened { config, places: loaded.places, log: Arc::new(log), state: Arc::new(state) })
}
