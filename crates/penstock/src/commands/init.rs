//! `penstock init`.

use crate::cli::InitArgs;
use crate::output::{Answer, Exit, Problem};
use serde_json::json;

const TEMPLATE: &str = include_str!("init.yaml");

/// Writes a configuration to start from; never overwrites without being told to.
pub fn run(args: &InitArgs) -> Answer {
    let file = args.file.display().to_string();
    if args.file.exists() && !args.yes {
        return Answer {
            exit: Exit::Usage,
            ..Answer::failed(Problem {
                code: "PS1010".into(),
                place: file,
                cause: "the file is there already".into(),
                fix: "name another file, or say --yes to overwrite it".into(),
            })
        };
    }
    match std::fs::write(&args.file, TEMPLATE) {
        Ok(()) => {
            let text = format!(
                "Next:\n  1. export DATABASE_URL, SF_URL, SF_CLIENT_ID and SF_CLIENT_SECRET\n  \
                 2. put your tables and objects into {file}\n  3. penstock check --config {file}\n  4. penstock run --config {file}\n"
            );
            Answer::done(format!("wrote {file}"), text, json!({"file": file}))
        }
        Err(error) => Answer::failed(Problem {
            code: "PS1102".into(),
            place: file,
            cause: format!("the file cannot be written: {error}"),
            fix: "name a place where this user may write".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_valid_configuration() {
        let loaded = crate::config::load_text("penstock.yaml", TEMPLATE);
        assert_eq!(loaded.findings, vec![]);
    }

    #[test]
    fn init_does_not_overwrite_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        let args = |yes| InitArgs { file: file.clone(), yes };
        assert_eq!(run(&args(false)).exit, Exit::Done);
        std::fs::write(&file, "mine").unwrap();
        assert_eq!(run(&args(false)).exit, Exit::Usage);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(run(&args(true)).exit, Exit::Done);
    }
}
