//! SOQL's words.

use super::{Literal, SoqlError};
use crate::value::{parse_date, parse_datetime, parse_time};

/// A word of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a keyword.
    Word(String),
    Value(Literal),
    Symbol(&'static str),
}

/// Cuts a text into words with their places.
///
/// # Errors
/// `SoqlError` for an open string or a character that SOQL does not know.
pub fn cut(text: &str) -> Result<Vec<(Token, usize)>, SoqlError> {
    let mut tokens = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        let token = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'\'' => {
                let (value, end) = string(text, at)?;
                at = end;
                Token::Value(Literal::Text(value))
            }
            b'0'..=b'9' | b'-' | b'+' => {
                at += 1;
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || b"+-:.".contains(b)) {
                    at += 1;
                }
                Token::Value(number_or_date(&text[start..at], start)?)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    at += 1;
                }
                Token::Word(text[start..at].to_owned())
            }
            _ => {
                let symbol = ["<=", ">=", "!=", "<>", "(", ")", ",", ".", "=", "<", ">", ":"]
                    .into_iter()
                    .find(|symbol| bytes[at..].starts_with(symbol.as_bytes()));
                let Some(symbol) = symbol else {
                    let found = text[at..].chars().next().unwrap_or(' ');
                    return Err(SoqlError { message: format!("unexpected char: '{found}'"), at });
                };
                at += symbol.len();
                Token::Symbol(symbol)
            }
        };
        tokens.push((token, start));
    }
    Ok(tokens)
}

fn string(text: &str, start: usize) -> Result<(String, usize), SoqlError> {
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((offset, letter)) = chars.next() {
        match letter {
            '\'' => return Ok((value, start + 1 + offset + 1)),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n' | 'N') => value.push('\n'),
                Some('r' | 'R') => value.push('\r'),
                Some('t' | 'T') => value.push('\t'),
                Some('b' | 'B') => value.push('\u{8}'),
                Some('f' | 'F') => value.push('\u{c}'),
                // LIKE's escapes stay escaped until the pattern is read.
                Some(wild @ ('%' | '_')) => {
                    value.push('\\');
                    value.push(wild);
                }
                Some(escaped @ ('\'' | '"' | '\\')) => value.push(escaped),
                _ => return Err(SoqlError { message: "invalid string escape".into(), at: start + 1 + offset }),
            },
            other => value.push(other),
        }
    }
    Err(SoqlError { message: "unexpected end of string, expecting \"'\"".into(), at: start })
}

fn number_or_date(text: &str, at: usize) -> Result<Literal, SoqlError> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.parse::<f64>().is_ok_and(f64::is_finite);
    if is_number {
        return Ok(Literal::Number(text.to_owned()));
    }
    if let Some(days) = parse_date(text) {
        return Ok(Literal::Date(days));
    }
    if let Some(ms) = parse_time(text) {
        return Ok(Literal::Time(ms));
    }
    match parse_datetime(text) {
        Some(ms) => Ok(Literal::Datetime(ms)),
        None => Err(SoqlError { message: format!("unexpected token: '{text}'"), at }),
    }
}
