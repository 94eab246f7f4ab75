//! `penstock explain CODE`.

use crate::explain::{page, pages};
use crate::output::{Answer, Exit, Problem, count, table};
use serde_json::json;

/// Prints a code's page, or the list of all codes.
pub fn run(code: Option<&str>) -> Answer {
    let Some(code) = code else {
        let pages = pages();
        let rows = pages.iter().map(|page| vec![page.code.to_owned(), page.title.to_owned()]);
        let list: Vec<_> = pages.iter().map(|page| json!({"code": page.code, "title": page.title})).collect();
        return Answer::done(count(pages.len(), "code"), table(&["code", "what it is"], rows), json!({"codes": list}));
    };
    match page(code) {
        Some(page) => {
            let text = format!("{} — {}\n\n{}\n", page.code, page.title, page.text.replace("**", ""));
            Answer::done("", text, json!({"code": page.code, "title": page.title, "text": page.text}))
        }
        None => Answer {
            exit: Exit::Usage,
            ..Answer::failed(Problem {
                code: "PS1010".into(),
                place: "penstock explain".into(),
                cause: format!("there is no code {code}"),
                fix: "`penstock explain` lists every code".into(),
            })
        },
    }
}
