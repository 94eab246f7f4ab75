//! Validation rules: CEL expressions over a record's fields that say when a write is refused.
//!
//! **Variables** are the object's fields by their API names (`Amount`, `Status__c`; system fields too), `is_new`
//! (bool), `old` (a map of the fields before the change; `null` for a new record) and `now` (timestamp). Whole numbers of
//! `int` fields are int, other numbers double, dates and datetimes timestamp, times, ids and all text string, an empty
//! field is `null`.
//!
//! A rule that cannot be evaluated over a record's values (`null > 3`) does not refuse it, as a formula over a blank field
//! would not; it is counted in `failed`.

use super::Object;
use super::spec::RuleSpec;
use crate::error::SimError;
use crate::store::Row;
use crate::value::Value;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, Program};
use chrono::{DateTime, FixedOffset, Utc};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// Rules per object, as in the largest editions.
const RULES_MAX: usize = 500;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [cel::extensions::strings, cel::extensions::math] {
        env.add_extension(extension).expect("the extensions' names do not clash with the standard library's");
    }
    Arc::new(env)
});

/// A validation rule.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    /// Says when the write is refused.
    pub when: String,
    pub message: String,
    /// The field that the error stands at.
    pub field: Option<Arc<str>>,
    pub active: bool,
    program: Program,
    /// The fields that it reads, by name and number.
    reads: Vec<(Arc<str>, u16)>,
    fired: AtomicU64,
    failed: AtomicU64,
}

impl Rule {
    /// Compiles a rule of `object`.
    ///
    /// # Errors
    /// `SimError::Definition` when the text is no expression, or names what is no field.
    pub fn compile(object: &Object, name: &str, spec: &RuleSpec) -> Result<Self, SimError> {
        let place = format!("{}.rules.{name}", object.name);
        let wrong = |cause: String| SimError::definition(place.clone(), cause);
        let program = ENV.compile(&spec.when).map_err(|errors| {
            let first = errors.errors.first();
            wrong(first.map_or("the expression cannot be read".into(), |error| {
                format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg)
            }))
        })?;
        let mut names = Names::default();
        names.walk(program.expression());
        let mut reads: Vec<(Arc<str>, u16)> = Vec::new();
        for variable in names.free {
            if OWN_NAMES.contains(&variable) || TYPE_NAMES.contains(&variable) {
                continue;
            }
            let number = object.field(variable).ok_or_else(|| wrong(format!("{variable:?} is no field")))?;
            if reads.iter().all(|(known, _)| **known != *variable) {
                reads.push((variable.into(), number));
            }
        }
        let field = match &spec.field {
            Some(field) => {
                let number = object.field(field).ok_or_else(|| wrong(format!("{field:?} is no field")))?;
                Some(object.fields[usize::from(number)].name.clone())
            }
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            when: spec.when.clone(),
            message: spec.message.clone(),
            field,
            active: spec.active.unwrap_or(true),
            program,
            reads,
            fired: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// True when the rule refuses `row`, which is `old` changed, or new.
    pub fn refuses(&self, object: &Object, row: &Row, old: Option<&Row>, now_ms: i64) -> bool {
        let scope = Scope { rule: self, object, row, old, now_ms };
        // The interpreter panics where chrono does (a timestamp beyond its range); a value in a row must not end the
        // process. The context is dropped: nothing is left half-done.
        let run = || {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(&scope);
            self.program.execute(&context)
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(cel::Value::Bool(refuses))) => {
                self.fired.fetch_add(u64::from(refuses), Ordering::Relaxed);
                refuses
            }
            _ => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Writes that it refused, and those over which it could not be evaluated.
    pub fn counts(&self) -> (u64, u64) {
        (self.fired.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// Adds rules to an object; one of the same name is replaced.
///
/// # Errors
/// As `Rule::compile`; more than 500 rules.
pub fn add(object: &mut Object, rules: &[(String, RuleSpec)]) -> Result<(), SimError> {
    for (name, spec) in rules {
        let rule = Arc::new(Rule::compile(object, name, spec)?);
        match object.rules.iter_mut().find(|known| known.name == *name) {
            Some(known) => *known = rule,
            None => object.rules.push(rule),
        }
    }
    if object.rules.len() > RULES_MAX {
        return Err(SimError::definition(&*object.name, format!("more than {RULES_MAX} validation rules")));
    }
    Ok(())
}

const OWN_NAMES: [&str; 3] = ["is_new", "old", "now"];

/// Names that the interpreter knows as types.
const TYPE_NAMES: [&str; 12] =
    ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "optional", "math"];

struct Scope<'a> {
    rule: &'a Rule,
    object: &'a Object,
    row: &'a Row,
    old: Option<&'a Row>,
    now_ms: i64,
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some((_, number)) = self.rule.reads.iter().find(|(name, _)| **name == *variable) {
            return Some(CowVal::Owned(to_val(&self.row.value(self.object, *number), self.object, *number)));
        }
        Some(CowVal::Owned(match variable {
            "is_new" => Box::new(CelBool::from(self.old.is_none())),
            "now" => timestamp(self.now_ms),
            "old" => self.old_values(),
            _ => return None,
        }))
    }
}

impl Scope<'_> {
    fn old_values(&self) -> Box<dyn Val> {
        let Some(old) = self.old else { return Box::new(CelNull) };
        let values = self.object.fields.iter().enumerate().filter_map(|(number, field)| {
            let value = to_val(&old.value(self.object, number as u16), self.object, number as u16);
            Some((field.name.to_string(), cel::Value::try_from(value.as_ref()).ok()?))
        });
        let map = cel::Value::from(values.collect::<HashMap<String, cel::Value>>());
        let made: Result<Box<dyn Val>, _> = map.try_into();
        made.unwrap_or_else(|_| Box::new(CelNull))
    }
}

fn to_val(value: &Value, object: &Object, number: u16) -> Box<dyn Val> {
    let kind = object.fields[usize::from(number)].kind;
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (kind, number.to_string().parse::<i64>()) {
            (super::Kind::Int, Ok(whole)) => Box::new(CelInt::from(whole)),
            _ => Box::new(CelDouble::from(number.to_string().parse::<f64>().unwrap_or(f64::NAN))),
        },
        Value::Date(days) => timestamp(i64::from(*days) * 86_400_000),
        Value::Datetime(ms) => timestamp(*ms),
        other => Box::new(CelString::from(other.to_string())),
    }
}

fn timestamp(ms: i64) -> Box<dyn Val> {
    let at = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    Box::new(CelTimestamp::from(DateTime::<FixedOffset>::from(at)))
}

/// The free variables of an expression.
#[derive(Default)]
struct Names<'e> {
    free: Vec<&'e str>,
    bound: Vec<&'e str>,
}

impl<'e> Names<'e> {
    fn walk(&mut self, node: &'e IdedExpr) {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !name.starts_with('@') && !self.bound.contains(&name.as_str()) {
                    self.free.push(name);
                }
            }
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.walk(target));
                call.args.iter().for_each(|arg| self.walk(arg));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element)),
            Expr::Select(select) => self.walk(&select.operand),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.walk_entry(&entry.expr)),
            Expr::Struct(made) => made.entries.iter().for_each(|entry| self.walk_entry(&entry.expr)),
            Expr::Comprehension(all) => {
                self.walk(&all.iter_range);
                self.walk(&all.accu_init);
                let depth = self.bound.len();
                self.bound.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
                self.bound.extend(all.iter_var2.as_deref());
                for inner in [&all.loop_cond, &all.loop_step, &all.result] {
                    self.walk(inner);
                }
                self.bound.truncate(depth);
            }
        }
    }

    fn walk_entry(&mut self, entry: &'e EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key);
                self.walk(&entry.value);
            }
        }
    }
}
