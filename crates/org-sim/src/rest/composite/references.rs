//! `@{ref.path}`: what a subrequest takes from the answer of an earlier one.

use crate::answer::Response;
use crate::json::Json;
use hashbrown::HashMap;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;

/// What would end or split a part of a URL.
const IN_URL: &AsciiSet = &CONTROLS.add(b'%').add(b'&').add(b'+').add(b'#').add(b'?').add(b'/').add(b'=');

/// A reference that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    reference: String,
    path: String,
}

impl Missing {
    /// Salesforce's sentence.
    pub fn message(&self) -> String {
        format!("Invalid reference specified. No value for {} found in {}.", self.path, self.reference)
    }
}

/// The answers so far, by reference id.
#[derive(Default)]
pub struct Answers {
    bodies: HashMap<String, Vec<u8>>,
}

impl Answers {
    /// Keeps an answer for later references.
    pub fn add(&mut self, reference: &str, response: &Response) {
        self.bodies.insert(reference.to_owned(), response.body.clone());
    }

    /// Replaces the references in a URL; the values are percent-encoded.
    ///
    /// # Errors
    /// `Missing` for a reference that leads nowhere.
    pub fn resolve_url<'t>(&self, url: &'t str) -> Result<Cow<'t, str>, Missing> {
        self.replace(url, |value| utf8_percent_encode(value, IN_URL).to_string())
    }

    /// Replaces the references in the texts of a body. A text that is one reference takes the value's own type.
    ///
    /// # Errors
    /// `Missing` for a reference that leads nowhere.
    pub fn resolve<'a>(&self, json: &Json<'a>) -> Result<Json<'a>, Missing> {
        Ok(match json {
            Json::Text(text) => match whole_reference(text) {
                Some(reference) => self.find(reference)?.to_json(),
                None => match self.replace(text, str::to_owned)? {
                    Cow::Borrowed(_) => json.clone(),
                    Cow::Owned(text) => Json::Text(text.into()),
                },
            },
            Json::Array(items) => Json::Array(items.iter().map(|item| self.resolve(item)).collect::<Result<_, _>>()?),
            Json::Object(members) => {
                let member = |(name, value): &(Cow<'a, str>, Json<'a>)| Ok((name.clone(), self.resolve(value)?));
                Json::Object(members.iter().map(member).collect::<Result<_, _>>()?)
            }
            other => other.clone(),
        })
    }

    fn replace<'t>(&self, text: &'t str, encode: impl Fn(&str) -> String) -> Result<Cow<'t, str>, Missing> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("@{") {
            let Some(length) = rest[start + 2..].find('}') else { break };
            out.push_str(&rest[..start]);
            out.push_str(&encode(&self.find(&rest[start + 2..start + 2 + length])?.text()));
            rest = &rest[start + 2 + length + 1..];
        }
        if rest.len() == text.len() {
            return Ok(Cow::Borrowed(text));
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }

    fn find(&self, reference: &str) -> Result<Found, Missing> {
        let end = reference.find(['.', '[']).unwrap_or(reference.len());
        let (name, path) = (reference[..end].trim(), &reference[end..]);
        let missing = || Missing { reference: name.to_owned(), path: path.trim_start_matches('.').to_owned() };
        let body = self.bodies.get(name).ok_or_else(missing)?;
        let body = Json::parse(body).map_err(|_| missing())?;
        let mut at = &body;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            at = match step.strip_suffix(']') {
                Some(index) => index.trim().parse().ok().and_then(|index: usize| at.items()?.get(index)),
                None => at.get(step),
            }
            .ok_or_else(missing)?;
        }
        match at {
            Json::Null => Ok(Found::Null),
            Json::Bool(value) => Ok(Found::Bool(*value)),
            Json::Number(digits) => Ok(Found::Number((*digits).to_owned())),
            Json::Text(text) => Ok(Found::Text(text.to_string())),
            Json::Array(_) | Json::Object(_) => Err(missing()),
        }
    }
}

/// The inside of a text that is nothing but one reference.
fn whole_reference(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("@{")?.strip_suffix('}')?;
    (!inside.contains('}')).then_some(inside)
}

enum Found {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
}

impl Found {
    fn text(&self) -> String {
        match self {
            Found::Null => "null".to_owned(),
            Found::Bool(value) => value.to_string(),
            Found::Number(text) | Found::Text(text) => text.clone(),
        }
    }

    /// Numbers become text, which every field that takes a number reads as well: a tree cannot own digits.
    fn to_json(&self) -> Json<'static> {
        match self {
            Found::Null => Json::Null,
            Found::Bool(value) => Json::Bool(*value),
            Found::Number(text) | Found::Text(text) => Json::Text(text.clone().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers() -> Answers {
        let mut answers = Answers::default();
        let body = br#"{"id":"001","n":1.50,"ok":true,"none":null,"records":[{"Name":"a & b/c"}]}"#;
        answers.add("ref_1", &Response::json(200, body.to_vec()));
        answers
    }

    #[test]
    fn references_are_followed_through_members_and_indexes() {
        let answers = answers();
        let body = br#"{"a":"@{ref_1.id}","b":["x @{ref_1.records[0].Name} y"],"c":"@{ref_1.ok}","d":"@{ref_1.none}","e":"@{ref_1.n}","f":"@{"}"#;
        let resolved = answers.resolve(&Json::parse(body).unwrap()).unwrap();
        assert_eq!(resolved.get("a").and_then(Json::text), Some("001"));
        assert_eq!(resolved.get("b").and_then(Json::items).unwrap()[0].text(), Some("x a & b/c y"));
        assert_eq!((resolved.get("c"), resolved.get("d")), (Some(&Json::Bool(true)), Some(&Json::Null)));
        assert_eq!(
            (resolved.get("e").and_then(Json::text), resolved.get("f").and_then(Json::text)),
            (Some("1.50"), Some("@{"))
        );
        let url = answers.resolve_url("/sobjects/Account/@{ref_1.id}?q='@{ref_1.records[0].Name}'").unwrap();
        assert_eq!(url, "/sobjects/Account/001?q='a %26 b%2Fc'");
    }

    #[test]
    fn reference_that_leads_nowhere_says_what_is_missing() {
        for (reference, message) in [
            ("@{other.id}", "Invalid reference specified. No value for id found in other."),
            ("@{ref_1.records[1].Name}", "Invalid reference specified. No value for records[1].Name found in ref_1."),
            ("@{ref_1.records}", "Invalid reference specified. No value for records found in ref_1."),
        ] {
            assert_eq!(answers().resolve_url(reference).unwrap_err().message(), message);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_resolved_or_refused_without_panic(text in "[@{}.a\\[\\]0é ]{0,20}") {
            let _ = answers().resolve_url(&text);
            let _ = answers().resolve(&Json::Text(text.into()));
        }
    }
}
