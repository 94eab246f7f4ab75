//! SOQL's grammar, by recursive descent.

use super::lexer::{Token, cut};
use super::{Expr, Items, Literal, Op, Order, Path, QUERY_CHARS_MAX, Select, SoqlError};

/// Parentheses and NOTs nested deeper than this are refused: the parser recurses.
const DEPTH_MAX: usize = 100;

/// Names that open another clause and so cannot be an alias.
const CLAUSES: [&str; 10] = ["WHERE", "ORDER", "LIMIT", "OFFSET", "GROUP", "HAVING", "WITH", "FOR", "USING", "ALL"];

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
    let select = parser.select()?;
    match parser.tokens.get(parser.next) {
        None => Ok(select),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    end: usize,
}

type Parsed<T> = Result<T, SoqlError>;

impl Parser {
    fn select(&mut self) -> Parsed<Select> {
        self.expect_word("SELECT")?;
        let items = self.items()?;
        self.expect_word("FROM")?;
        let from = self.name()?;
        // An alias changes nothing here but may stand before each field; only a bare one is taken.
        if let Some(Token::Word(word)) = self.peek()
            && !CLAUSES.iter().any(|clause| word.eq_ignore_ascii_case(clause))
        {
            self.next += 1;
        }
        let filter = if self.word("WHERE") { Some(self.expr(0)?) } else { None };
        let order = if self.word("ORDER") {
            self.expect_word("BY")?;
            self.list(Self::order)?
        } else {
            Vec::new()
        };
        let limit = if self.word("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.word("OFFSET") { self.count()? } else { 0 };
        if let Some(Token::Word(word)) = self.peek()
            && ["GROUP", "HAVING", "WITH", "FOR", "USING"].iter().any(|clause| word.eq_ignore_ascii_case(clause))
        {
            let message = format!("{} is not supported by this simulated org", word.to_ascii_uppercase());
            return Err(SoqlError { message, at: self.at() });
        }
        Ok(Select { items, from, filter, order, limit, offset })
    }

    fn items(&mut self) -> Parsed<Items> {
        if let (Some(Token::Word(word)), Some(Token::Symbol("("))) =
            (self.peek(), self.tokens.get(self.next + 1).map(|t| &t.0))
        {
            let word = word.to_ascii_uppercase();
            if word == "COUNT" {
                self.next += 2;
                self.expect(")")?;
                return Ok(Items::Count);
            }
            if word == "FIELDS" {
                self.next += 2;
                let which = self.name()?.to_ascii_uppercase();
                self.expect(")")?;
                return match which.as_str() {
                    "ALL" => Ok(Items::All { standard: true, custom: true }),
                    "STANDARD" => Ok(Items::All { standard: true, custom: false }),
                    "CUSTOM" => Ok(Items::All { standard: false, custom: true }),
                    _ => Err(self.unexpected()),
                };
            }
        }
        self.list(Self::path).map(Items::Fields)
    }

    fn order(&mut self) -> Parsed<Order> {
        let path = self.path()?;
        let descending = !self.word("ASC") && self.word("DESC");
        let mut nulls_last = false;
        if self.word("NULLS") {
            nulls_last = !self.word("FIRST");
            if nulls_last {
                self.expect_word("LAST")?;
            }
        }
        Ok(Order { path, descending, nulls_last })
    }

    fn expr(&mut self, depth: usize) -> Parsed<Expr> {
        let first = self.term(depth)?;
        let mut terms = vec![first];
        let conjunction = if self.is_word("AND") {
            "AND"
        } else if self.is_word("OR") {
            "OR"
        } else {
            return Ok(terms.remove(0));
        };
        while self.word(conjunction) {
            terms.push(self.term(depth)?);
        }
        // AND beside OR needs parentheses, as in Salesforce.
        if self.is_word("AND") || self.is_word("OR") {
            return Err(self.unexpected());
        }
        Ok(if conjunction == "AND" { Expr::And(terms) } else { Expr::Or(terms) })
    }

    fn term(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > DEPTH_MAX {
            return Err(SoqlError { message: "the condition is nested too deeply".into(), at: self.at() });
        }
        if self.word("NOT") {
            return Ok(Expr::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.symbol("(") {
            let inner = self.expr(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let path = self.path()?;
        if self.word("LIKE") {
            return Ok(Expr::Compare { path, op: Op::Like, value: self.literal()? });
        }
        let negated = self.word("NOT");
        if negated || self.is_word("IN") {
            self.expect_word("IN")?;
            self.expect("(")?;
            let values = self.list(Self::literal)?;
            self.expect(")")?;
            return Ok(Expr::In { path, negated, values });
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
        Ok(Expr::Compare { path, op, value: self.literal()? })
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
                    "TODAY" => Literal::Days { from: 0, count: 1 },
                    "YESTERDAY" => Literal::Days { from: -1, count: 1 },
                    "TOMORROW" => Literal::Days { from: 1, count: 1 },
                    "LAST_N_DAYS" | "NEXT_N_DAYS" => {
                        self.next += 1;
                        if self.peek() != Some(&Token::Symbol(":")) {
                            return Err(self.unexpected());
                        }
                        self.next += 1;
                        let days = i32::try_from(self.count()?).unwrap_or(i32::MAX).min(1_000_000);
                        return Ok(if word == "LAST_N_DAYS" {
                            Literal::Days { from: -days, count: days + 1 }
                        } else {
                            Literal::Days { from: 1, count: days }
                        });
                    }
                    _ => return Err(self.unexpected()),
                }
            }
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(literal)
    }

    fn path(&mut self) -> Parsed<Path> {
        let mut path = vec![self.name()?];
        while self.symbol(".") {
            path.push(self.name()?);
        }
        Ok(path)
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![one(self)?];
        while self.symbol(",") {
            items.push(one(self)?);
        }
        Ok(items)
    }

    fn count(&mut self) -> Parsed<usize> {
        if let Some(Token::Value(Literal::Number(digits))) = self.peek()
            && let Ok(number) = digits.parse()
        {
            self.next += 1;
            return Ok(number);
        }
        Err(self.unexpected())
    }

    fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        self.next += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn expect_word(&mut self, keyword: &str) -> Parsed<()> {
        if self.word(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }

    fn unexpected(&self) -> SoqlError {
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
        assert_eq!(
            select.items,
            Items::Fields(vec![vec!["Id".into()], vec!["Account".into(), "Owner".into(), "Name".into()]])
        );
        assert!(select.order[0].descending && select.order[0].nulls_last && !select.order[1].descending);
        let Some(Expr::And(terms)) = select.filter else { panic!("an AND") };
        assert_eq!(terms.len(), 6);
        assert_eq!(parse("SELECT COUNT() FROM Account").unwrap().items, Items::Count);
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, at) in [
            ("", 0),
            ("SELECT FROM Account", 12),
            ("SELECT Id FROM Account WHERE", 28),
            ("SELECT Id FROM Account WHERE a = 1 AND b = 2 OR c = 3", 45),
            ("SELECT Id FROM Account WHERE a = 'x", 33),
            ("SELECT Id FROM Account LIMIT -1", 29),
            ("SELECT Id FROM Account GROUP BY Name", 23),
            ("SELECT Id FROM Account; DROP", 22),
            ("SELECT Id FROM Account WHERE a = 2026-13-01", 33),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        let deep = format!("SELECT Id FROM A WHERE {}a = 1", "(".repeat(50_000));
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("SELECT Id FROM A WHERE {}a = 1", "NOT ".repeat(20_000))).is_err());
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
        ]), 0..20)) {
            let _ = parse(&words.join(" "));
            let _ = parse(&format!("SELECT a FROM b WHERE {}", words.join(" ")));
        }
    }
}
