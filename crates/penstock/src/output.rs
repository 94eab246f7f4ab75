//! What a command prints: tables and sentences for people, one JSON object with `--json`.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use model::{Finding, Severity};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2: bad usage or configuration.
    Usage,
    /// 3: a check found something.
    Found,
    /// 128 + the signal that ended it; the work was stopped in good order.
    Signal(u8),
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Found => 3,
            Exit::Signal(number) => 128 + number,
        }
    }
}

/// A command's answer.
#[derive(Debug)]
pub struct Answer {
    pub exit: Exit,
    /// One sentence.
    pub summary: String,
    /// What people see above the summary: tables, pages. May be empty.
    pub text: String,
    /// What programs get.
    pub result: Value,
    pub error: Option<Problem>,
}

/// An error as every surface shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub code: String,
    pub place: String,
    pub cause: String,
    pub fix: String,
}

impl From<&Finding> for Problem {
    fn from(finding: &Finding) -> Self {
        Self {
            code: finding.code.to_string(),
            place: finding.place.clone(),
            cause: finding.cause.clone(),
            fix: finding.fix.clone(),
        }
    }
}

impl Answer {
    /// A command that did what it was asked.
    pub fn done(summary: impl Into<String>, text: impl Into<String>, result: impl Serialize) -> Self {
        Self { exit: Exit::Done, summary: summary.into(), text: text.into(), result: to_value(result), error: None }
    }

    /// A command that failed.
    pub fn failed(problem: Problem) -> Self {
        let summary = format!("{}: {}", problem.code, problem.cause);
        Self { exit: Exit::Failed, summary, text: String::new(), result: Value::Null, error: Some(problem) }
    }

    /// Findings: exit 2 when the configuration itself is wrong and `usage` says so, else 3; 0 when there are only warnings.
    pub fn findings(findings: &[Finding], usage: bool, nothing: &str) -> Self {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        let warnings = findings.len() - errors;
        let exit = match (errors, usage) {
            (0, _) => Exit::Done,
            (_, true) => Exit::Usage,
            (_, false) => Exit::Found,
        };
        let summary = match (errors, warnings) {
            (0, 0) => nothing.to_owned(),
            _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
        };
        let error = findings.iter().find(|finding| finding.severity == Severity::Error).map(Problem::from);
        Self { exit, summary, text: findings_text(findings), result: json!({"findings": findings}), error }
    }
}

fn to_value(result: impl Serialize) -> Value {
    serde_json::to_value(result).unwrap_or_else(|error| json!({"unprintable": error.to_string()}))
}

/// `1 error`, `2 errors`.
pub fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Groups thousands: `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One block for each finding: code and place, then cause, then what to do.
pub fn findings_text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        out.push_str(&format!(
            "{word} {} at {}\n  {}\n  → {}\n",
            finding.code, finding.place, finding.cause, finding.fix
        ));
    }
    out
}

/// Lines around the table and below its header, none between rows.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A table as wide as the terminal, or as its content in a pipe. A header of empty words is left out.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(LINES);
    if header.iter().any(|word| !word.is_empty()) {
        table.set_header(header.to_vec());
    }
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    format!("{table}\n")
}

/// Prints an answer and gives the exit code. A closed pipe is not an error.
pub fn print(command: &str, answer: &Answer, as_json: bool) -> u8 {
    let mut out = std::io::stdout().lock();
    let printed = if as_json {
        let ok = matches!(answer.exit, Exit::Done | Exit::Signal(_));
        let object = json!({
            "command": command, "ok": ok, "summary": answer.summary, "result": answer.result, "error": answer.error,
        });
        writeln!(out, "{object}")
    } else {
        write!(out, "{}", answer.text).and_then(|()| match (&answer.error, answer.exit) {
            (Some(problem), Exit::Failed | Exit::Usage) if answer.text.is_empty() => {
                let mut err = std::io::stderr().lock();
                writeln!(err, "error {} at {}\n  {}\n  → {}", problem.code, problem.place, problem.cause, problem.fix)?;
                writeln!(err, "  more: penstock explain {}", problem.code)
            }
            _ if answer.summary.is_empty() => Ok(()),
            _ => writeln!(out, "{}", answer.summary),
        })
    };
    let _closed_pipe = printed.and_then(|()| out.flush());
    answer.exit.code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_decide_the_exit_code() {
        let error = Finding::error("PS1003", "a", "b", "c");
        let warning = Finding::warning("PS1003", "a", "b", "c");
        assert_eq!(Answer::findings(&[], false, "fine").exit, Exit::Done);
        assert_eq!(Answer::findings(&[warning], false, "fine").exit, Exit::Done);
        assert_eq!(Answer::findings(std::slice::from_ref(&error), false, "fine").exit, Exit::Found);
        assert_eq!(Answer::findings(&[error], true, "fine").exit, Exit::Usage);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(999), "999");
    }
}
