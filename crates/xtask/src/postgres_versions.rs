//! `cargo xtask postgres-versions`: the capture tests on every major version of PostgreSQL that is supported and that the
//! system does not ship.
//!
//! The servers come from Maven Central through a script beside the repository; where script, Java or Maven are missing the
//! versions are skipped, with the reason.

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Brings a server and prints its folder.
const SCRIPT: &str = "../shared/tools/postgres-binaries.sh";
/// What the script needs.
const NEEDED: &[&str] = &["java", "mvn", "unzip", "xz"];

/// Options of a run.
#[derive(Args, Debug)]
pub struct PostgresVersionsArgs {
    /// Major versions.
    #[arg(long = "major", default_values_t = [14, 16, 17, 18])]
    majors: Vec<u32>,
    /// Only the tests whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Print one JSON object on one line at the end.
    #[arg(long)]
    json: bool,
}

/// How the tests of one version went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    major: u32,
    /// As the server says it: `17.7`.
    version: Option<String>,
    passed: u64,
    failed: u64,
    /// Names of the tests that failed, sorted.
    failures: Vec<String>,
    /// Why the tests were not run.
    skipped: Option<String>,
}

/// Runs the tests on each version, one after the other.
///
/// # Errors
/// When a test failed, or a server could not be brought though the machine has what that needs.
pub async fn run(args: &PostgresVersionsArgs) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    let missing = missing();
    for major in &args.majors {
        let report = match &missing {
            Some(reason) => Report { major: *major, skipped: Some(reason.clone()), ..Report::default() },
            None => test_on(*major, &args.filter).await?,
        };
        let line = report.line();
        if args.json {
            crate::say(&line)
        } else {
            crate::print(&line)
        }
        reports.push(report);
    }
    let failed: u64 = reports.iter().map(|report| report.failed).sum();
    if args.json {
        let skipped = reports.iter().filter(|report| report.skipped.is_some()).count();
        crate::print(
            &json!({"ok": failed == 0, "failed": failed, "skipped": skipped, "versions": reports}).to_string(),
        );
    }
    if failed > 0 {
        bail!("{failed} capture tests failed");
    }
    Ok(())
}

/// Why servers cannot be brought on this machine; none when they can.
fn missing() -> Option<String> {
    if !script().exists() {
        return Some(format!("{SCRIPT} is not there"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lacks = |program: &&&str| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let lacking: Vec<&str> = NEEDED.iter().filter(lacks).copied().collect();
    (!lacking.is_empty()).then(|| format!("not on the PATH: {}", lacking.join(", ")))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn script() -> PathBuf {
    root().join(SCRIPT)
}

async fn test_on(major: u32, filter: &str) -> anyhow::Result<Report> {
    let brought = Command::new("bash").arg(script()).arg(major.to_string()).stderr(Stdio::inherit()).output().await?;
    if !brought.status.success() {
        bail!("{SCRIPT} {major} failed: {}", brought.status);
    }
    let folder = PathBuf::from(String::from_utf8(brought.stdout)?.trim()).join("bin");
    let version = Command::new(folder.join("postgres"))
        .arg("--version")
        .output()
        .await
        .context("asking the server its version")?;
    let version = String::from_utf8_lossy(&version.stdout).split_whitespace().nth(2).map(str::to_owned);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args([
            "test",
            "--quiet",
            "--package",
            "connector-postgres",
            "--test",
            "all",
            "--",
            "--format",
            "pretty",
            filter,
        ])
        .env("PENSTOCK_POSTGRES_BIN", &folder)
        .stdin(Stdio::null())
        .output()
        .await
        .context("running cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut report = Report { major, version, ..read(&text) };
    if report.passed + report.failed == 0 || (!output.status.success() && report.failed == 0) {
        bail!("the tests did not run on PostgreSQL {major}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    report.failures.sort();
    if report.failed > 0 {
        crate::say(&text);
    }
    Ok(report)
}

/// Reads what libtest writes: `test NAME ... ok`, `test NAME ... FAILED`.
fn read(text: &str) -> Report {
    let mut report = Report::default();
    for line in text.lines() {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
            continue;
        };
        match outcome {
            "ok" => report.passed += 1,
            "FAILED" => {
                report.failed += 1;
                report.failures.push(name.to_owned());
            }
            _ => {}
        }
    }
    report
}

impl Report {
    fn line(&self) -> String {
        let version = self.version.clone().unwrap_or_else(|| self.major.to_string());
        match &self.skipped {
            Some(reason) => format!("PostgreSQL {version}: skipped, {reason}"),
            None if self.failed == 0 => format!("PostgreSQL {version}: {} passed", self.passed),
            None => {
                let names = self.failures.join(", ");
                format!("PostgreSQL {version}: {} passed, {} failed: {names}", self.passed, self.failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_from_libtest_and_failures_are_named() {
        let text = "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored\n\ntest result: FAILED. 1 passed; 1 failed;\n";
        let report = Report { major: 17, version: Some("17.7".into()), ..read(text) };
        assert_eq!((report.passed, report.failed), (1, 1));
        assert_eq!(report.line(), "PostgreSQL 17.7: 1 passed, 1 failed: c");
    }

    #[test]
    fn skipped_version_tells_its_reason() {
        let report = Report { major: 14, skipped: Some("not on the PATH: mvn".into()), ..Report::default() };
        assert_eq!(report.line(), "PostgreSQL 14: skipped, not on the PATH: mvn");
    }
}
