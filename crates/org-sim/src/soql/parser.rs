//! SOQL's grammar, by recursive descent: words, names and conditions. The clauses of a query are in `clauses`.

use super::dates::{DateFunction, Relative};
use super::lexer::{Token, cut};
use super::{Aggregate, Expr, Literal, Op, Path, QUERY_CHARS_MAX, Select, SoqlError, Term};

/// Parentheses, NOTs and queries nested deeper than this are refused: the parser recurses.
pub(super) const DEPTH_MAX: usize = 100;

/// Reads a query.
///
/// # Errors
/// `SoqlError` with its place.
pub fn parse(text: &str) -> Result<Select, SoqlError> {
    if text.len() > QUERY_CHARS_MAX && text.chars().count() > QUERY_CHARS_MAX {
        return Err(SoqlError {
            message: format!("SOQL statements cannot be longer than {QUERY_CHARS_MAX} characters."),
            at: 0,
        });
    }
    let mut parser = Parser { tokens: cut(text)?, next: 0, end: text.len() };
    let select = parser.select(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(select),
        Some(_) => Err(parser.unexpected()),
    }
}

pub(super) struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
}

pub(super) type Parsed<T> = Result<T, SoqlError>;

impl Parser {
    pub(super) fn expr(&mut self, depth: usize) -> Parsed<Expr> {
        let first = self.condition(depth)?;
        let mut terms = vec![first];
        let conjunction = if self.is_word("AND") {
            "AND"
        } else if self.is_word("OR") {
            "OR"
        } else {
            return Ok(terms.remove(0));
        };
        while self.word(conjunction) {
            terms.push(self.condition(depth)?);
        }
        // AND beside OR needs parentheses, as in Salesforce.
        if self.is_word("AND") || self.is_word("OR") {
            return Err(self.unexpected());
        }
        Ok(if conjunction == "AND" { Expr::And(terms) } else { Expr::Or(terms) })
    }

    fn condition(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > DEPTH_MAX {
            return Err(SoqlError { message: "the condition is nested too deeply".into(), at: self.at() });
        }
        if self.word("NOT") {
            return Ok(Expr::Not(Box::new(self.condition(depth + 1)?)));
        }
        if self.symbol("(") {
            let inner = self.expr(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let term = self.term()?;
        if self.word("LIKE") {
            return Ok(Expr::Compare { term, op: Op::Like, value: self.literal()? });
        }
        if self.is_word("INCLUDES") || self.is_word("EXCLUDES") {
            let negated = self.word("EXCLUDES") || !self.word("INCLUDES");
            return Ok(Expr::Includes { term, negated, values: self.literals()? });
        }
        let negated = self.word("NOT");
        if negated || self.is_word("IN") {
            self.expect_word("IN")?;
            if self.peek_second_is_select() {
                self.expect("(")?;
                let query = Box::new(self.select(depth + 1)?);
                self.expect(")")?;
                return Ok(Expr::InQuery { term, negated, query });
            }
            return Ok(Expr::In { term, negated, values: self.literals()? });
        }
        let op = match self.peek() {
            Some(Token::Symbol("=")) => Op::Equal,
            Some(Token::Symbol("!=" | "<>")) => Op::NotEqual,
            Some(Token::Symbol("<")) => Op::Less,
            Some(Token::Symbol("<=")) => Op::LessOrEqual,
            Some(Token::Symbol(">")) => Op::Greater,
            Some(Token::Symbol(">=")) => Op::GreaterOrEqual,
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(Expr::Compare { term, op, value: self.literal()? })
    }

    fn literals(&mut self) -> Parsed<Vec<Literal>> {
        self.expect("(")?;
        let values = self.list(Self::literal)?;
        self.expect(")")?;
        Ok(values)
    }

    fn literal(&mut self) -> Parsed<Literal> {
        let literal = match self.peek() {
            Some(Token::Value(literal)) => literal.clone(),
            Some(Token::Word(word)) => {
                let word = word.to_ascii_uppercase();
                match word.as_str() {
                    "NULL" => Literal::Null,
                    "TRUE" => Literal::Bool(true),
                    "FALSE" => Literal::Bool(false),
                    _ if Relative::takes_number(&word) => return self.relative(&word),
                    _ => match Relative::from_word(&word) {
                        Some(relative) => Literal::Relative(relative),
                        None => return Err(self.unexpected()),
                    },
                }
            }
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(literal)
    }

    /// Reads the number of `LAST_N_DAYS:7`.
    fn relative(&mut self, word: &str) -> Parsed<Literal> {
        self.next += 1;
        self.expect(":")?;
        let number = i32::try_from(self.count()?).unwrap_or(i32::MAX);
        Relative::with_number(word, number).map(Literal::Relative).ok_or_else(|| self.unexpected())
    }

    /// Reads a field, an aggregate or a date function.
    pub(super) fn term(&mut self) -> Parsed<Term> {
        let at = self.at();
        let Some(function) = self.function() else { return self.path().map(Term::Path) };
        let aggregate = match function.as_str() {
            "COUNT" => Aggregate::Count,
            "COUNT_DISTINCT" => Aggregate::CountDistinct,
            "SUM" => Aggregate::Sum,
            "AVG" => Aggregate::Avg,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            _ => {
                let Some(function) = DateFunction::from_word(&function) else { return Err(self.unexpected()) };
                self.next += 2;
                // The org's time zone is UTC: a conversion changes nothing.
                let converted = self.function().is_some_and(|name| name == "CONVERTTIMEZONE");
                self.next += if converted { 2 } else { 0 };
                let path = self.path()?;
                if converted {
                    self.expect(")")?;
                }
                self.expect(")")?;
                return Ok(Term::Date(function, path));
            }
        };
        self.next += 2;
        let path = if aggregate == Aggregate::Count && self.peek() == Some(&Token::Symbol(")")) {
            None
        } else {
            Some(self.path()?)
        };
        self.expect(")")?;
        Ok(Term::Aggregate(aggregate, path, at))
    }

    /// The name of the function that comes next, in upper case; nothing is taken.
    pub(super) fn function(&self) -> Option<String> {
        match (self.peek(), self.tokens.get(self.next + 1).map(|(token, _)| token)) {
            (Some(Token::Word(word)), Some(Token::Symbol("("))) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    pub(super) fn path(&mut self) -> Parsed<Path> {
        let at = self.at();
        let mut names = vec![self.name()?];
        while self.symbol(".") {
            names.push(self.name()?);
        }
        Ok(Path { names, at })
    }

    pub(super) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![one(self)?];
        while self.symbol(",") {
            items.push(one(self)?);
        }
        Ok(items)
    }

    pub(super) fn count(&mut self) -> Parsed<usize> {
        if let Some(Token::Value(Literal::Number(digits))) = self.peek()
            && let Ok(number) = digits.parse()
        {
            self.next += 1;
            return Ok(number);
        }
        Err(self.unexpected())
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The next word, if one comes next; nothing is taken.
    pub(super) fn peek_name(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// True when a query in parentheses comes next.
    pub(super) fn peek_second_is_select(&self) -> bool {
        let second = self.tokens.get(self.next + 1).map(|(token, _)| token);
        self.peek() == Some(&Token::Symbol("("))
            && matches!(second, Some(Token::Word(word)) if word.eq_ignore_ascii_case("SELECT"))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    pub(super) fn skip(&mut self, tokens: usize) {
        self.next += tokens;
    }

    pub(super) fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        self.next += usize::from(found);
        found
    }

    pub(super) fn symbol(&mut self, symbol: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn expect_word(&mut self, keyword: &str) -> Parsed<()> {
        if self.word(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }

    pub(super) fn unexpected(&self) -> SoqlError {
        let message = match self.peek() {
            None => "unexpected token: '<EOF>'".to_owned(),
            Some(Token::Word(word)) => format!("unexpected token: '{word}'"),
            Some(Token::Symbol(symbol)) => format!("unexpected token: '{symbol}'"),
            Some(Token::Value(Literal::Text(text))) => format!("unexpected token: '{text}'"),
            Some(Token::Value(Literal::Number(digits))) => format!("unexpected token: '{digits}'"),
            Some(Token::Value(_)) => "unexpected token".to_owned(),
        };
        SoqlError { message, at: self.at() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soql::Item;
    use proptest::prelude::*;

    #[test]
    fn whole_grammar_is_read() {
        let select = parse(
            "select Id, Account.Owner.Name FROM Case c WHERE (NOT a = null OR b != 'it\\'s') AND c IN ('x','y') \
             AND d NOT IN (1, -2.5) AND e LIKE 'A\\_%' AND f >= 2026-01-01T00:00:00Z AND g = LAST_N_DAYS:7 \
             ORDER BY Name DESC NULLS LAST, Id LIMIT 10 OFFSET 5",
        )
        .unwrap();
        assert_eq!(select.from, "Case");
        assert_eq!((select.limit, select.offset), (Some(10), 5));
        let Item::Term { term: Term::Path(path), .. } = &select.items[1] else { panic!("a path") };
        assert_eq!((path.names.join(".").as_str(), path.at), ("Account.Owner.Name", 11));
        assert!(select.order[0].descending && select.order[0].nulls_last && !select.order[1].descending);
        let Some(Expr::And(terms)) = select.filter else { panic!("an AND") };
        assert_eq!(terms.len(), 6);
        assert!(parse("SELECT COUNT() FROM Account").unwrap().counts_only());
        let select = parse(
            "SELECT a.Industry, CALENDAR_YEAR(CreatedDate) y, COUNT(Id), SUM(Amount) total FROM Account a \
             WHERE Skills__c INCLUDES ('A;B', 'C') AND Id NOT IN (SELECT AccountId FROM Contact WHERE a = THIS_QUARTER) \
             GROUP BY Industry, CALENDAR_YEAR(CreatedDate) HAVING COUNT(Id) > 1 ORDER BY SUM(Amount) DESC LIMIT 5",
        )
        .unwrap();
        assert!(select.grouped() && select.group.len() == 2 && select.having.is_some());
        assert_eq!(select.alias.as_deref(), Some("a"));
        let select = parse(
            "SELECT FIELDS(STANDARD), toLabel(Status), (SELECT Id, (SELECT Id FROM Lines__r) FROM Contacts ORDER BY Id), \
             TYPEOF Owner WHEN User THEN Name, Email WHEN Group THEN Type ELSE Id END FROM Account \
             USING SCOPE everything FOR VIEW",
        )
        .unwrap();
        assert_eq!(select.items.len(), 4);
        assert!(
            matches!(&select.items[3], Item::TypeOf { whens, otherwise, .. } if whens.len() == 2 && otherwise.len() == 1)
        );
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, at) in [
            ("", 0),
            ("SELECT FROM Account", 7),
            ("SELECT Id FROM Account WHERE", 28),
            ("SELECT Id FROM Account WHERE a = 1 AND b = 2 OR c = 3", 45),
            ("SELECT Id FROM Account WHERE a = 'x", 33),
            ("SELECT Id FROM Account LIMIT -1", 29),
            ("SELECT Id FROM Account GROUP BY ROLLUP(Name)", 32),
            ("SELECT Id FROM Account GROUP Name", 29),
            ("SELECT Id, (SELECT Id FROM Contacts FROM Account", 36),
            ("SELECT NOSUCH(Id) FROM Account", 7),
            ("SELECT Id FROM Account WHERE a = LAST_N_DAYS", 44),
            ("SELECT Id FROM Account; DROP", 22),
            ("SELECT Id FROM Account WHERE a = 2026-13-01", 33),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        let deep = format!("SELECT Id FROM A WHERE {}a = 1", "(".repeat(50_000));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("SELECT Id FROM A WHERE {}a = 1", "NOT ".repeat(20_000))).is_err());
        assert!(parse(&"SELECT (".repeat(12_000)).is_err());
        assert!(parse(&"SELECT Id FROM A WHERE Id IN (".repeat(3_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_parses_without_panic(text in ".{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_words_parse_without_panic(words in prop::collection::vec(prop::sample::select(vec![
            "SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "ORDER", "BY", "LIMIT", "OFFSET", "COUNT", "FIELDS", "ALL",
            "(", ")", ",", ".", "=", "<", ">=", "'x'", "'\\", "1", "2026-01-01", "null", "TODAY", "LAST_N_DAYS", ":", "NULLS", "LAST", "a", "é",
            "GROUP", "HAVING", "TYPEOF", "WHEN", "THEN", "ELSE", "END", "INCLUDES", "SUM", "CALENDAR_YEAR", "toLabel", "USING", "SCOPE", "FOR", "10:00:00Z",
        ]), 0..20)) {
            let _ = parse(&words.join(" "));
            let _ = parse(&format!("SELECT a FROM b WHERE {}", words.join(" ")));
        }
    }
}
