//! A single-pass scanner over JSON text: finds the members of an object and the end of a value.
//!
//! It trusts brackets and quotes and checks nothing else: on valid JSON it gives what a parser gives; on anything else
//! it gives spans that lie inside the input, or an error, and never panics. What reads a span checks its inside.

use memchr::memchr2;
use std::borrow::Cow;

/// The text broke off, or something stood where it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} at byte {at}")]
pub struct Broken {
    /// Byte in the scanned span.
    pub at: usize,
    pub why: &'static str,
}

/// The members of one object, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    json: &'a [u8],
    at: usize,
    first: bool,
}

impl<'a> Members<'a> {
    /// Starts at the object that begins at the first byte of `json` that is no blank; what follows the object is
    /// ignored.
    ///
    /// # Errors
    /// `Broken` when no object begins there.
    pub fn of(json: &'a [u8]) -> Result<Self, Broken> {
        let at = skip_blanks(json, 0);
        match json.get(at) {
            Some(b'{') => Ok(Self { json, at: at + 1, first: true }),
            _ => Err(Broken { at, why: "an object was expected" }),
        }
    }

    /// Returns the next member's name (without quotes, escapes kept) and the rest of the text from its value on,
    /// without looking for the value's end; `value` must be called before the next `name`.
    #[inline]
    pub fn name(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        let mut at = skip_blanks(self.json, self.at);
        match (self.json.get(at), self.first) {
            (Some(b'}'), _) => {
                self.at = at;
                return Ok(None);
            }
            (Some(b','), false) => at = skip_blanks(self.json, at + 1),
            (Some(b'"'), true) => {}
            _ => return Err(Broken { at, why: "a member, a comma or the object's end was expected" }),
        }
        self.first = false;
        if self.json.get(at) != Some(&b'"') {
            return Err(Broken { at, why: "a member's name was expected" });
        }
        let end = end_of_string(self.json, at)?;
        let name = &self.json[at + 1..end - 1];
        at = skip_blanks(self.json, end);
        if self.json.get(at) != Some(&b':') {
            return Err(Broken { at, why: "a colon was expected" });
        }
        self.at = skip_blanks(self.json, at + 1);
        Ok(Some(name))
    }

    /// Everything from the current value on.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.json.get(self.at..).unwrap_or_default()
    }

    /// Steps over the current value and returns its span.
    ///
    /// # Errors
    /// `Broken` when the value has no end.
    #[inline]
    pub fn value(&mut self) -> Result<&'a [u8], Broken> {
        let end = end_of_value(self.json, self.at)?;
        let span = &self.json[self.at..end];
        self.at = end;
        Ok(span)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Broken>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let member = match self.name() {
            Ok(None) => return None,
            Ok(Some(name)) => self.value().map(|value| (name, value)),
            Err(broken) => Err(broken),
        };
        if member.is_err() {
            // The next call finds no member: an error is given once.
            (self.json, self.at) = (b"}", 0);
        }
        Some(member)
    }
}

/// The elements of one array, in order.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    json: &'a [u8],
    at: usize,
    first: bool,
}

impl<'a> Elements<'a> {
    /// Starts at the array that begins at the first byte of `json` that is no blank.
    ///
    /// # Errors
    /// `Broken` when no array begins there.
    pub fn of(json: &'a [u8]) -> Result<Self, Broken> {
        let at = skip_blanks(json, 0);
        match json.get(at) {
            Some(b'[') => Ok(Self { json, at: at + 1, first: true }),
            _ => Err(Broken { at, why: "an array was expected" }),
        }
    }

    fn step(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        let mut at = skip_blanks(self.json, self.at);
        match (self.json.get(at), self.first) {
            (Some(b']'), _) => return Ok(None),
            (Some(b','), false) => at = skip_blanks(self.json, at + 1),
            (Some(_), true) => {}
            _ => return Err(Broken { at, why: "a comma or the array's end was expected" }),
        }
        self.first = false;
        let end = end_of_value(self.json, at)?;
        self.at = end;
        Ok(Some(&self.json[at..end]))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.step();
        if element.is_err() {
            (self.json, self.at) = (b"]", 0);
        }
        element.transpose()
    }
}

/// Finds a member by its name; the first one when the name repeats.
///
/// # Errors
/// `Broken` when the text breaks before the member is found.
pub fn member<'a>(object: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Broken> {
    let mut members = Members::of(object)?;
    while let Some(found) = members.name()? {
        if name_is(found, name) {
            return members.value().map(Some);
        }
        members.value()?;
    }
    Ok(None)
}

/// True when the raw text of a member's name spells `name`.
#[inline]
pub fn name_is(raw: &[u8], name: &str) -> bool {
    raw == name.as_bytes() || (raw.contains(&b'\\') && unescape(raw).is_some_and(|text| text == name))
}

/// Returns the text of a string's inside (what stands between the quotes); borrowed unless there is an escape.
/// `None` when it is not UTF-8 or holds a broken escape.
#[inline]
pub fn unescape(inside: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(inside).ok()?;
    if !text.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    unescape_simple(text).map_or_else(
        // Surrogates are left to the parser.
        || serde_json::from_str::<String>(&format!("\"{text}\"")).ok().map(Cow::Owned),
        |text| Some(Cow::Owned(text)),
    )
}

/// Unescapes what has only one-letter escapes, as json in a string has; `None` for everything else.
fn unescape_simple(mut text: &str) -> Option<String> {
    let mut made = String::with_capacity(text.len());
    while let Some(at) = memchr::memchr(b'\\', text.as_bytes()) {
        let letter = match text.as_bytes().get(at + 1)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            _ => return None,
        };
        made.push_str(&text[..at]);
        made.push(letter);
        text = &text[at + 2..];
    }
    made.push_str(text);
    Some(made)
}

/// Returns the inside of a string value; `None` when the span is no string.
#[inline]
pub fn string_inside(span: &[u8]) -> Option<&[u8]> {
    match span {
        [b'"', inside @ .., b'"'] => Some(inside),
        _ => None,
    }
}

#[inline]
fn skip_blanks(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Returns the place after the closing quote of the string that opens at `at`.
#[inline]
fn end_of_string(json: &[u8], at: usize) -> Result<usize, Broken> {
    let mut from = at + 1;
    loop {
        let rest = json.get(from..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(found) if rest[found] == b'"' => return Ok(from + found + 1),
            Some(found) => from += found + 2,
            None => return Err(Broken { at, why: "a string does not end" }),
        }
    }
}

/// The first value of a text that may go on behind it.
///
/// # Errors
/// `Broken` when it does not end.
pub fn first_value(json: &[u8]) -> Result<&[u8], Broken> {
    end_of_value(json, 0).map(|end| &json[..end])
}

/// Returns the place after the value that begins at `at`.
#[inline]
fn end_of_value(json: &[u8], at: usize) -> Result<usize, Broken> {
    match json.get(at) {
        Some(b'"') => end_of_string(json, at),
        Some(b'{' | b'[') => end_of_brackets(json, at),
        Some(b',' | b':' | b'}' | b']') | None => Err(Broken { at, why: "a value was expected" }),
        Some(_) => {
            let rest = &json[at..];
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b':' | b'"'))
                .unwrap_or(rest.len());
            Ok(at + length)
        }
    }
}

/// What a byte means for nesting: 0 nothing, 1 opens, 2 closes, 3 begins a string.
const MEANING: [u8; 256] = {
    let mut meaning = [0; 256];
    meaning[b'{' as usize] = 1;
    meaning[b'[' as usize] = 1;
    meaning[b'}' as usize] = 2;
    meaning[b']' as usize] = 2;
    meaning[b'"' as usize] = 3;
    meaning
};

fn end_of_brackets(json: &[u8], at: usize) -> Result<usize, Broken> {
    let (mut depth, mut here) = (0_usize, at);
    while let Some(byte) = json.get(here) {
        match MEANING[*byte as usize] {
            0 => here += 1,
            1 => {
                depth += 1;
                here += 1;
            }
            2 => {
                depth -= 1;
                here += 1;
                if depth == 0 {
                    return Ok(here);
                }
            }
            _ => here = end_of_string(json, here)?,
        }
    }
    Err(Broken { at, why: "an object or an array does not end" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
            any::<String>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],: \n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_what_a_parser_finds(members in prop::collection::vec((any::<String>(), any_json()), 0..8), pretty: bool) {
            let map = Map::from_iter(members);
            let text = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) }.unwrap();
            let found: Vec<(String, Value)> = Members::of(text.as_bytes())
                .unwrap()
                .map(|member| {
                    let (name, value) = member.unwrap();
                    (unescape(name).unwrap().into_owned(), serde_json::from_slice(value).unwrap())
                })
                .collect();
            let wanted: Vec<(String, Value)> = map.clone().into_iter().collect();
            prop_assert_eq!(found, wanted);
            for (name, value) in &map {
                let span = member(text.as_bytes(), name).unwrap().unwrap();
                prop_assert_eq!(&serde_json::from_slice::<Value>(span).unwrap(), value);
            }
        }

        #[test]
        fn elements_are_what_a_parser_finds(values in prop::collection::vec(any_json(), 0..8)) {
            let text = serde_json::to_string_pretty(&values).unwrap();
            let found: Vec<Value> =
                Elements::of(text.as_bytes()).unwrap().map(|e| serde_json::from_slice(e.unwrap()).unwrap()).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Members::of(&bytes).map(|members| members.count());
            let _ = Elements::of(&bytes).map(|elements| elements.count());
            let _ = member(&bytes, "a");
            let _ = unescape(&bytes);
        }

        #[test]
        fn broken_json_is_scanned_without_a_panic(text in "[{}\\[\\]\",:a\\\\ 1]{0,40}") {
            let _ = Members::of(text.as_bytes()).map(|members| members.count());
            let _ = Elements::of(text.as_bytes()).map(|elements| elements.count());
        }

        #[test]
        fn cut_json_is_scanned_without_a_panic(value in any_json(), keep in 0.0..1.0) {
            let text = serde_json::to_string(&value).unwrap();
            let cut = &text.as_bytes()[..(text.len() as f64 * keep) as usize];
            let _ = Members::of(cut).map(|members| members.count());
        }
    }
}
