//! JSON as the org reads and writes it: a tree that borrows from the request's bytes and keeps a number's digits.
//!
//! A number is not turned into a float: `12345678901234567.89` must reach a currency field as it is. This is why the
//! reader is our own; `serde_json` is the oracle of its property test.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Objects and arrays nested deeper than this are refused: the reader recurses.
const DEPTH_MAX: usize = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// The literal digits; valid JSON.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the document's order; a name may appear twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Where and why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    pub cause: &'static str,
    /// From 1.
    pub line: usize,
    /// From 1, in bytes.
    pub column: usize,
}

impl<'a> Json<'a> {
    /// Reads one JSON text; white space around it is allowed, anything else after it is not.
    ///
    /// # Errors
    /// `JsonError` with line and column.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|error| at(bytes, error.valid_up_to(), "invalid UTF-8"))?;
        let mut reader = Reader { text, bytes, at: 0 };
        let value = reader.value(0).and_then(|value| {
            reader.space();
            if reader.at == bytes.len() { Ok(value) } else { Err("unexpected character after the value") }
        });
        value.map_err(|cause| at(bytes, reader.at, cause))
    }

    /// Finds the first member of this name; none also when this is not an object.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn items(&self) -> Option<&[Json<'a>]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if this is an object.
    pub fn members(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The word that Salesforce's parser uses for this kind of token.
    pub fn token(&self) -> &'static str {
        match self {
            Json::Null => "VALUE_NULL",
            Json::Bool(true) => "VALUE_TRUE",
            Json::Bool(false) => "VALUE_FALSE",
            Json::Number(digits) if digits.contains(['.', 'e', 'E']) => "VALUE_NUMBER_FLOAT",
            Json::Number(_) => "VALUE_NUMBER_INT",
            Json::Text(_) => "VALUE_STRING",
            Json::Array(_) => "START_ARRAY",
            Json::Object(_) => "START_OBJECT",
        }
    }
}

fn at(bytes: &[u8], offset: usize, cause: &'static str) -> JsonError {
    let before = &bytes[..offset.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    JsonError { cause, line, column }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, &'static str> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply");
        }
        self.space();
        match self.bytes.get(self.at) {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err("unexpected character"),
            None => Err("unexpected end of input"),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, &'static str> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err("unrecognized token")
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, &'static str> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err("expected a field name in double quotes");
            }
            let name = self.string()?;
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return Err("expected a colon");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            members.push((name, value));
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err("expected a comma or the end of the object"),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, &'static str> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err("expected a comma or the end of the array"),
            }
        }
    }

    fn number(&mut self) -> Result<Json<'a>, &'static str> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err("expected a digit"),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(Json::Number(&self.text[start..self.at]))
    }

    fn some_digits(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.digits();
        if self.at == start { Err("expected a digit") } else { Ok(()) }
    }

    fn digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, &'static str> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
                }
                Some(b'\\') => return self.escaped(start).map(Cow::Owned),
                Some(0..=0x1f) => return Err("control character in a string"),
                Some(_) => self.at += 1,
                None => return Err("unexpected end of input in a string"),
            }
        }
    }

    fn escaped(&mut self, start: usize) -> Result<String, &'static str> {
        let mut out = String::from(&self.text[start..self.at]);
        loop {
            let plain = self.at;
            while !matches!(self.bytes.get(self.at), Some(b'"' | b'\\' | 0..=0x1f) | None) {
                self.at += 1;
            }
            out.push_str(&self.text[plain..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    let escape = self.escape()?;
                    out.push(escape);
                }
                Some(_) => return Err("control character in a string"),
                None => return Err("unexpected end of input in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        let letter = *self.bytes.get(self.at).ok_or("unexpected end of input in a string")?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                let code = if (0xd800..0xdc00).contains(&high) {
                    if !self.bytes[self.at..].starts_with(b"\\u") {
                        return Err("half a surrogate pair");
                    }
                    self.at += 2;
                    let low = self.hex()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err("half a surrogate pair");
                    }
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                char::from_u32(code).ok_or("half a surrogate pair")?
            }
            _ => return Err("unknown escape in a string"),
        })
    }

    fn hex(&mut self) -> Result<u32, &'static str> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or("unexpected end of input in a string")?;
        let mut code = 0;
        for digit in digits {
            code = code * 16 + char::from(*digit).to_digit(16).ok_or("expected four hexadecimal digits")?;
        }
        self.at += 4;
        Ok(code)
    }
}

/// Writes `text` as a JSON string, quotes included.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[start..at]);
        if escape.is_empty() {
            let mut code = String::new();
            // Writing to a String cannot fail.
            let _ = write!(code, "\\u{byte:04x}");
            out.extend_from_slice(code.as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        start = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[start..]);
    out.push(b'"');
}

/// Writes an integer.
pub fn write_int(out: &mut Vec<u8>, number: i64) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_serde(json: &Json<'_>) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Number(digits) => serde_json::from_str(digits).unwrap(),
            Json::Text(text) => text.to_string().into(),
            Json::Array(items) => items.iter().map(to_serde).collect(),
            Json::Object(members) => {
                serde_json::Value::Object(members.iter().map(|(k, v)| (k.to_string(), to_serde(v))).collect())
            }
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_the_same(value in any_json()) {
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(to_serde(&Json::parse(&text).unwrap()), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused_like_serde_json(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0d8-+.eEtrufalsn \n\x01\xc3\xa4".to_vec()), 0..24)) {
            let ours = Json::parse(&bytes).is_ok();
            let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok()
                && std::str::from_utf8(&bytes).is_ok();
            // A raw value accepts half a surrogate pair, which no text can hold.
            prop_assert!(ours == theirs || (!ours && bytes.windows(2).any(|pair| pair == b"\\u")));
        }

        #[test]
        fn written_text_is_read_back(text in any::<String>()) {
            let mut out = Vec::new();
            write_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_errors_their_place() {
        let json = Json::parse(b"{\"a\": 12345678901234567.890}").unwrap();
        assert_eq!(json.get("a"), Some(&Json::Number("12345678901234567.890")));
        let error = Json::parse(b"{\n \"a\": x}").unwrap_err();
        assert_eq!((error.line, error.column), (2, 7));
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
