//! The clauses of a query: what is selected, grouped and ordered.

use super::parser::{DEPTH_MAX, Parsed, Parser};
use super::{Item, Order, Select, SoqlError, Term};

/// Names that open another clause and so cannot be an alias.
const CLAUSES: [&str; 13] =
    ["FROM", "WHERE", "ORDER", "LIMIT", "OFFSET", "GROUP", "HAVING", "WITH", "FOR", "USING", "ALL", "UPDATE", "AS"];

impl Parser {
    pub(super) fn select(&mut self, depth: usize) -> Parsed<Select> {
        if depth > DEPTH_MAX {
            return Err(SoqlError { message: "the query is nested too deeply".into(), at: self.at() });
        }
        self.expect_word("SELECT")?;
        let items = self.list(|parser| parser.item(depth))?;
        self.expect_word("FROM")?;
        let from_at = self.at();
        let from = self.name()?;
        self.word("AS");
        let alias = self.alias();
        if self.word("USING") {
            self.expect_word("SCOPE")?;
            self.expect_word("everything")?;
        }
        let filter = if self.word("WHERE") { Some(self.expr(depth)?) } else { None };
        let group = if self.word("GROUP") {
            self.expect_word("BY")?;
            self.refuse(&["ROLLUP", "CUBE"])?;
            self.list(Self::term)?
        } else {
            Vec::new()
        };
        let having = if self.word("HAVING") { Some(self.expr(depth)?) } else { None };
        let order = if self.word("ORDER") {
            self.expect_word("BY")?;
            self.list(Self::order)?
        } else {
            Vec::new()
        };
        let limit = if self.word("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.word("OFFSET") { self.count()? } else { 0 };
        let mut viewed = false;
        while self.word("FOR") {
            if self.word("VIEW") || self.word("REFERENCE") {
                viewed = true;
            } else {
                self.expect_word("UPDATE")?;
            }
        }
        self.refuse(&["WITH", "UPDATE"])?;
        Ok(Select { items, from, from_at, alias, filter, group, having, order, limit, offset, viewed })
    }

    /// Refuses clauses that Salesforce has and this org does not.
    fn refuse(&self, words: &[&str]) -> Parsed<()> {
        match words.iter().find(|word| self.is_word(word)) {
            Some(word) => {
                let message = format!("{word} is not supported by this simulated org");
                Err(SoqlError { message, at: self.at() })
            }
            None => Ok(()),
        }
    }

    fn item(&mut self, depth: usize) -> Parsed<Item> {
        if self.peek_second_is_select() {
            self.expect("(")?;
            let select = self.select(depth + 1)?;
            self.expect(")")?;
            return Ok(Item::Children(Box::new(select)));
        }
        if self.is_word("FROM") {
            return Err(self.unexpected());
        }
        match self.function().as_deref() {
            Some("FIELDS") => {
                self.skip(2);
                return self.fields();
            }
            Some("TOLABEL") => {
                self.skip(2);
                let path = self.path()?;
                self.expect(")")?;
                return Ok(Item::Label { path, alias: self.alias() });
            }
            None if self.is_word("TYPEOF") => return self.type_of(),
            _ => {}
        }
        Ok(Item::Term { term: self.term()?, alias: self.alias() })
    }

    fn alias(&mut self) -> Option<String> {
        let alias = self.peek_name().filter(|name| !CLAUSES.iter().any(|clause| name.eq_ignore_ascii_case(clause)));
        let alias = alias.map(str::to_owned);
        self.skip(usize::from(alias.is_some()));
        alias
    }

    fn fields(&mut self) -> Parsed<Item> {
        let at = self.at();
        let which = self.name()?.to_ascii_uppercase();
        self.expect(")")?;
        let (standard, custom) = match which.as_str() {
            "ALL" => (true, true),
            "STANDARD" => (true, false),
            "CUSTOM" => (false, true),
            _ => return Err(SoqlError { message: format!("unexpected token: '{which}'"), at }),
        };
        Ok(Item::Fields { standard, custom })
    }

    fn type_of(&mut self) -> Parsed<Item> {
        self.expect_word("TYPEOF")?;
        let path = self.path()?;
        let mut whens = Vec::new();
        while self.word("WHEN") {
            let object = self.name()?;
            self.expect_word("THEN")?;
            whens.push((object, self.list(Self::path)?));
        }
        if whens.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.word("ELSE") { self.list(Self::path)? } else { Vec::new() };
        self.expect_word("END")?;
        Ok(Item::TypeOf { path, whens, otherwise })
    }

    fn order(&mut self) -> Parsed<Order> {
        let term: Term = self.term()?;
        let descending = !self.word("ASC") && self.word("DESC");
        let mut nulls_last = false;
        if self.word("NULLS") {
            nulls_last = !self.word("FIRST");
            if nulls_last {
                self.expect_word("LAST")?;
            }
        }
        Ok(Order { term, descending, nulls_last })
    }
}
