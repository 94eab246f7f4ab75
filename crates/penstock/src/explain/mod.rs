//! The catalogue of error codes: `penstock explain PS1203`, offline.
//!
//! One Markdown file for each area in `codes/`; a section for each code:
//! `## PS1003 — title`, then what it means, `**Cause.**` and `**What to do.**`. `cargo xtask tidy` checks that every
//! code in the sources has its section here.

/// The catalogue's files: name and text.
const FILES: &[(&str, &str)] = &[
    ("configuration", include_str!("codes/configuration.md")),
    ("postgres", include_str!("codes/postgres.md")),
    ("postgres-values", include_str!("codes/postgres-values.md")),
    ("log", include_str!("codes/log.md")),
    ("salesforce", include_str!("codes/salesforce.md")),
    ("mapping", include_str!("codes/mapping.md")),
    ("engine", include_str!("codes/engine.md")),
    ("proof", include_str!("codes/proof.md")),
    ("governor", include_str!("codes/governor.md")),
    ("org-sim", include_str!("codes/org-sim.md")),
    ("program", include_str!("codes/program.md")),
];

/// One code's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub code: &'static str,
    pub title: &'static str,
    /// Markdown, without the heading.
    pub text: &'static str,
}

/// Every page, sorted by code.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = FILES.iter().flat_map(|(_, text)| sections(text)).collect();
    pages.sort_by_key(|page| page.code);
    pages
}

/// Finds a code's page; case does not matter.
pub fn page(code: &str) -> Option<Page> {
    pages().into_iter().find(|page| page.code.eq_ignore_ascii_case(code.trim()))
}

fn sections(text: &'static str) -> impl Iterator<Item = Page> {
    text.split("\n## ").flat_map(|part| part.strip_prefix("## ").or(Some(part))).filter_map(|part| {
        let (heading, text) = part.split_once('\n')?;
        let (code, title) = heading.split_once(" — ")?;
        code.starts_with("PS").then(|| Page { code: code.trim(), title: title.trim(), text: text.trim() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_says_what_to_do() {
        let pages = pages();
        assert!(!pages.is_empty());
        for pair in pages.windows(2) {
            assert_ne!(pair[0].code, pair[1].code, "{} stands twice", pair[0].code);
        }
        for page in pages {
            assert!(page.text.contains("**What to do.**"), "{} does not say what to do", page.code);
        }
    }

    #[test]
    fn a_code_is_found_whatever_its_case() {
        assert_eq!(page("ps1003").map(|page| page.code), Some("PS1003"));
        assert_eq!(page("PS9999"), None);
    }
}
