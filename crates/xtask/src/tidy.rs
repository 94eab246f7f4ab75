//! `cargo xtask tidy`: the house rules that no lint knows.

use anyhow::bail;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its inline tests.
const FILE_LINES_MAX: usize = 800;
const JUNK_DRAWERS: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "manager", "types"];

/// Fails with every breach, one line each.
pub fn run() -> anyhow::Result<()> {
    let mut breaches = Vec::new();
    let files = sources(Path::new("crates"))?;
    let mut codes = BTreeMap::new();
    for path in &files {
        let text = fs::read_to_string(path)?;
        breaches.extend(check_file(path, &text));
        let product = !path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "xtask")));
        for code in codes_in(&text).into_iter().filter(|_| product) {
            codes.entry(code).or_insert_with(|| path.clone());
        }
    }
    breaches.extend(check_catalogue(&codes));
    if breaches.is_empty() { Ok(()) } else { bail!("{}", breaches.join("\n")) }
}

fn sources(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn check_file(path: &Path, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut breach = |line: usize, what: &str| breaches.push(format!("{}:{line}: {what}", path.display()));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if JUNK_DRAWERS.contains(&stem) {
        breach(1, "a junk drawer's name: say what is inside");
    }
    let is_test =
        path.components().any(|part| part.as_os_str() == "tests") || stem == "tests" || stem.ends_with("_tests");
    if !text.starts_with("//!") && !is_test {
        breach(1, "the module does not say its purpose (//!)");
    }
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    if product.lines().count() > FILE_LINES_MAX && !is_test {
        breach(FILE_LINES_MAX, "the file is longer than 800 lines without its tests");
    }
    let product_lines = product.lines().count();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        // The words are put together here so that this file does not name them.
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:")] {
            if line.contains(word) {
                breach(number, "unfinished work is an issue, not a comment");
            }
        }
        if line.contains(concat!("#[ig", "nore]")) {
            breach(number, "a test is fixed or removed; what is no test says its reason: #[ignore = \"…\"]");
        }
        if (is_test || index > product_lines) && line.contains(concat!("sle", "ep(")) && !waits(path, text, index) {
            breach(number, "a test waits on a position or an event, not on time");
        }
        if line.contains(concat!("fn te", "st_"))
            && index > 0
            && text.lines().nth(index - 1).is_some_and(|l| l.contains("test"))
        {
            breach(number, "a test's name says subject, condition and outcome");
        }
    }
    breaches
}

/// True when a test's pause is no waiting on time: between two looks at a condition, or in virtual time (a paused runtime).
fn waits(path: &Path, text: &str, index: usize) -> bool {
    let before: Vec<&str> = text.lines().skip(index.saturating_sub(3)).take(3.min(index)).collect();
    let polls = before.iter().any(|line| ["while ", ".any(", "loop "].iter().any(|word| line.contains(word)));
    let virtual_time = |text: &str| text.contains("start_paused");
    let beside = path.parent().and_then(|folder| sources(folder).ok()).unwrap_or_default();
    polls
        || virtual_time(text)
        || beside.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| virtual_time(&text)))
}

/// Codes as the sources write them: `"PS1234"` and `PS1234:` in error texts.
fn codes_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("PS") {
        let before = text[..at].chars().next_back();
        let digits: String = text[at + 2..].chars().take(5).collect();
        let code: String = digits.chars().take_while(char::is_ascii_digit).collect();
        if before == Some('"') && code.len() == 4 {
            found.push(format!("PS{code}"));
        }
    }
    found
}

fn check_catalogue(codes: &BTreeMap<String, PathBuf>) -> Vec<String> {
    codes
        .iter()
        .filter(|(code, _)| *code != "PS9999" && *code != "PS0000" && penstock::explain::page(code).is_none())
        .map(|(code, path)| format!("{}: {code} has no page in crates/penstock/src/explain/codes", path.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_breaches_are_found() {
        let nap = concat!("tokio::time::sle", "ep(x)");
        let text = format!("//! Fine.\nfn a() {{}}\n#[cfg(test)]\nmod tests {{\n  {nap};\n}}\n");
        assert_eq!(check_file(Path::new("crates/a/src/b.rs"), &text).len(), 1);
        assert_eq!(check_file(Path::new("crates/a/src/utils.rs"), "//! Fine.\n").len(), 1);
        assert_eq!(check_file(Path::new("crates/a/src/b.rs"), "fn a() {}\n").len(), 1);
        assert!(check_file(Path::new("crates/a/src/b.rs"), "//! Fine.\nfn a() {}\n").is_empty());
    }

    #[test]
    fn codes_are_read_from_string_literals() {
        assert_eq!(codes_in(r#"Finding::error("PS1003", …) #[error("PS3001: …")] PS12"#), vec!["PS1003", "PS3001"]);
    }
}
