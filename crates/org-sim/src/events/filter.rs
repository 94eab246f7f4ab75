//! Filter expressions of channel members: a small part of SOQL's conditions.
//!
//! `Industry = 'Energy' AND (AnnualRevenue > 1000 OR BillingAddress.City LIKE 'Os%')`

use super::avro::Datum;
use crate::value::{parse_date, parse_datetime};
use std::cmp::Ordering;

/// Parentheses nested deeper than this are refused: the reader recurses.
const DEPTH_MAX: usize = 32;

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    Compare { field: String, operator: Operator, literal: Literal },
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Like,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    /// Unix milliseconds.
    Moment(i64),
}

impl Filter {
    /// Reads a condition.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = words(text)?;
        let mut reader = Reader { words: &words, at: 0 };
        let filter = reader.any(0)?;
        match reader.words.get(reader.at) {
            None => Ok(filter),
            Some(word) => Err(format!("unexpected {word:?}")),
        }
    }

    /// The fields that the condition looks at.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Filter::Compare { field, .. } => vec![field],
            Filter::All(parts) | Filter::Any(parts) => parts.iter().flat_map(Filter::fields).collect(),
        }
    }

    /// Whether an event meets the condition; `value` gives a field's value.
    pub fn meets(&self, value: &impl Fn(&str) -> Datum) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|part| part.meets(value)),
            Filter::Any(parts) => parts.iter().any(|part| part.meets(value)),
            Filter::Compare { field, operator, literal } => compare(&value(field), *operator, literal),
        }
    }
}

fn compare(value: &Datum, operator: Operator, literal: &Literal) -> bool {
    let order = match (value, literal) {
        (Datum::Null, Literal::Null) => Some(Ordering::Equal),
        (Datum::Boolean(a), Literal::Boolean(b)) => Some(a.cmp(b)),
        (Datum::Text(text), Literal::Text(pattern)) if operator == Operator::Like => {
            let chars = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
            return like(&chars(text), &chars(pattern));
        }
        (Datum::Text(a), Literal::Text(b)) => Some(a.to_lowercase().cmp(&b.to_lowercase())),
        (Datum::Double(a), Literal::Number(b)) => a.partial_cmp(b),
        (Datum::Int(a), Literal::Number(b)) => f64::from(*a).partial_cmp(b),
        (Datum::Long(a), Literal::Number(b)) => (*a as f64).partial_cmp(b),
        (Datum::Long(a), Literal::Moment(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
        Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Operator::Like => false,
    }
}

/// `%` stands for any characters, `_` for one.
fn like(text: &[char], pattern: &[char]) -> bool {
    // The places of the last `%` and of the text that it has taken so far: no other needs to be tried again.
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(of) {
            Some('%') => {
                star = Some((of, at));
                of += 1;
            }
            Some(letter) if *letter == '_' || *letter == text[at] => {
                at += 1;
                of += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (of, at) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|letter| *letter == '%')
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Text(String),
    Sign(&'static str),
}

const SIGNS: [&str; 9] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")"];

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            words.push(Word::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '\'' {
            let (word, after) = quoted(&rest[1..]).ok_or("a text is not closed")?;
            words.push(Word::Text(word));
            rest = after;
        } else {
            let named = |letter: char| letter.is_alphanumeric() || "_.+-:".contains(letter);
            let end = rest.find(|letter| !named(letter)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected {first:?}"));
            }
            words.push(Word::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(words)
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => return Some((out, &text[at + 1..])),
            '\\' => out.push(letters.next()?.1),
            _ => out.push(letter),
        }
    }
    None
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.words.get(self.at), Some(Word::Name(word)) if word.eq_ignore_ascii_case(name))
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.all(depth)?];
        while self.is_name("OR") {
            self.at += 1;
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.one(depth)?];
        while self.is_name("AND") {
            self.at += 1;
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH_MAX {
            return Err("nested too deeply".into());
        }
        let field = match self.next() {
            Some(Word::Sign("(")) => {
                let inner = self.any(depth + 1)?;
                return match self.next() {
                    Some(Word::Sign(")")) => Ok(inner),
                    _ => Err("a parenthesis is not closed".into()),
                };
            }
            Some(Word::Name(field)) => field,
            other => return Err(format!("a field is expected, not {other:?}")),
        };
        let operator = match self.next() {
            Some(Word::Sign("=")) => Operator::Equal,
            Some(Word::Sign("!=" | "<>")) => Operator::NotEqual,
            Some(Word::Sign("<")) => Operator::Less,
            Some(Word::Sign(">")) => Operator::Greater,
            Some(Word::Sign("<=")) => Operator::LessOrEqual,
            Some(Word::Sign(">=")) => Operator::GreaterOrEqual,
            Some(Word::Name(word)) if word.eq_ignore_ascii_case("LIKE") => Operator::Like,
            other => return Err(format!("an operator is expected, not {other:?}")),
        };
        let literal = match self.next() {
            Some(Word::Text(text)) => Literal::Text(text),
            Some(Word::Name(word)) => literal(&word)?,
            other => return Err(format!("a value is expected, not {other:?}")),
        };
        Ok(Filter::Compare { field, operator, literal })
    }
}

fn literal(word: &str) -> Result<Literal, String> {
    if word.eq_ignore_ascii_case("null") {
        return Ok(Literal::Null);
    }
    if let Ok(value) = word.to_ascii_lowercase().parse::<bool>() {
        return Ok(Literal::Boolean(value));
    }
    if let Some(days) = parse_date(word) {
        return Ok(Literal::Moment(i64::from(days) * 86_400_000));
    }
    if let Some(ms) = word.is_ascii().then(|| parse_datetime(word)).flatten() {
        return Ok(Literal::Moment(ms));
    }
    word.parse().map(Literal::Number).map_err(|_| format!("{word} is no value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meets(text: &str) -> bool {
        let value = |field: &str| match field {
            "Name" => Datum::Text("Ann's Shop".into()),
            "Score" => Datum::Double(7.5),
            "Open" => Datum::Boolean(true),
            "Day" => Datum::Long(86_400_000),
            _ => Datum::Null,
        };
        Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).meets(&value)
    }

    #[test]
    fn conditions_hold_as_in_soql() {
        for (text, expected) in [
            ("Name = 'ann\\'s shop'", true),
            ("Name LIKE 'ANN%_p'", true),
            ("Name LIKE 'Ann'", false),
            ("Name LIKE '%s%s%p%'", true),
            ("Score >= 7.5 AND Score < 8", true),
            ("Score > 8 OR (Open = TRUE AND Missing = null)", true),
            ("Score > 8 OR Open = false AND Missing = null", false),
            ("Missing != 'x'", true),
            ("Day = 1970-01-02", true),
            ("Day > 1970-01-01T23:59:59Z", true),
            ("Score = 'x'", false),
        ] {
            assert_eq!(meets(text), expected, "{text}");
        }
        assert_eq!(Filter::parse("A = 1 AND (B = 2 OR A.C = 3)").unwrap().fields(), ["A", "B", "A.C"]);
    }

    #[test]
    fn broken_conditions_are_refused() {
        for text in ["", "Name", "Name =", "Name = 'x", "(Name = 1", "Name = 1 Name = 2", "Name ~ 1", "= 1", "A = b"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert!(Filter::parse(&"(".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([A-Zé ]|[<>=!()']|LIKE|AND|OR|null|[0-9.:+T-]|\\\\){0,30}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.meets(&|_| Datum::Text("Aé".into()));
            }
        }
    }
}
