//! Objects and fields as the org works with them.

pub mod build;
pub mod children;
pub mod spec;

use crate::value::Value;
use hashbrown::HashMap;
use spec::OnDelete;
use std::sync::Arc;

/// A field's type, in the words of describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Id,
    Text,
    TextArea,
    Picklist,
    MultiPicklist,
    Boolean,
    Int,
    Double,
    Currency,
    Percent,
    Date,
    Datetime,
    Time,
    Email,
    Phone,
    Url,
    Reference,
}

impl Kind {
    /// The `type` of a describe.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Id => "id",
            Kind::Text => "string",
            Kind::TextArea => "textarea",
            Kind::Picklist => "picklist",
            Kind::MultiPicklist => "multipicklist",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Double => "double",
            Kind::Currency => "currency",
            Kind::Percent => "percent",
            Kind::Date => "date",
            Kind::Datetime => "datetime",
            Kind::Time => "time",
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Url => "url",
            Kind::Reference => "reference",
        }
    }

    /// The `soapType` of a describe.
    pub fn soap(self) -> &'static str {
        match self {
            Kind::Id | Kind::Reference => "tns:ID",
            Kind::Boolean => "xsd:boolean",
            Kind::Int => "xsd:int",
            Kind::Double | Kind::Currency | Kind::Percent => "xsd:double",
            Kind::Date => "xsd:date",
            Kind::Datetime => "xsd:dateTime",
            Kind::Time => "xsd:time",
            _ => "xsd:string",
        }
    }

    /// True for text of any kind.
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Kind::Text | Kind::TextArea | Kind::Picklist | Kind::MultiPicklist | Kind::Email | Kind::Phone | Kind::Url
        )
    }

    /// True for numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Double | Kind::Currency | Kind::Percent)
    }
}

/// Where a field's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    Id,
    IsDeleted,
    CreatedDate,
    CreatedById,
    LastModifiedDate,
    LastModifiedById,
    SystemModstamp,
    /// Made of `FirstName` and `LastName`.
    PersonName,
    /// A cell of the row.
    Cell,
}

/// How a lookup points to its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub to: Vec<Arc<str>>,
    /// From child to parent.
    pub relationship: Option<Arc<str>>,
    pub on_delete: OnDelete,
    pub master_detail: bool,
}

/// A running number and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    pub before: String,
    pub width: usize,
    pub after: String,
}

impl NumberFormat {
    /// Writes `number`.
    pub fn write(&self, number: u64) -> String {
        format!("{}{number:0width$}{}", self.before, self.after, width = self.width)
    }
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: Arc<str>,
    pub label: String,
    pub kind: Kind,
    pub storage: Storage,
    /// Characters, for text; 18 for ids.
    pub length: u32,
    pub precision: u8,
    pub scale: u8,
    pub required: bool,
    pub unique: bool,
    pub external_id: bool,
    pub id_lookup: bool,
    pub case_sensitive: bool,
    pub values: Vec<String>,
    pub restricted: bool,
    pub default: Option<Value>,
    pub reference: Option<Reference>,
    pub createable: bool,
    pub updateable: bool,
    pub auto_number: Option<NumberFormat>,
    pub name_field: bool,
    pub long: bool,
}

impl Field {
    /// True when rows can be found by this field without a scan.
    pub fn indexed(&self) -> bool {
        self.storage == Storage::Cell && (self.external_id || self.unique || self.id_lookup)
    }

    /// True when an upsert may use the field as its key.
    pub fn is_key(&self) -> bool {
        self.external_id || self.id_lookup
    }

    /// True for a lookup whose children must be found when the parent goes.
    pub fn tracks_children(&self) -> bool {
        self.reference.as_ref().is_some_and(|reference| reference.to.iter().any(|to| &**to != "User"))
    }

    /// True when the name ends in `__c`.
    pub fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    pub name: Arc<str>,
    pub label: String,
    pub plural: String,
    pub prefix: [u8; 3],
    pub createable: bool,
    pub updateable: bool,
    pub deletable: bool,
    pub queryable: bool,
    /// In describe's order; a field never moves, new ones are added at the end.
    pub fields: Vec<Field>,
    /// When a field was last added, Unix milliseconds.
    pub changed_ms: i64,
    by_name: HashMap<Box<str>, u16>,
    by_relationship: HashMap<Box<str>, u16>,
}

impl Object {
    /// Finds a field's number by name, without regard to ASCII case.
    pub fn field(&self, name: &str) -> Option<u16> {
        // The exact spelling is stored beside the folded one, because nearly every request uses it.
        self.by_name.get(name).or_else(|| self.by_name.get(&*name.to_ascii_lowercase())).copied()
    }

    /// Finds the lookup field of a relationship name, without regard to ASCII case.
    pub fn relationship(&self, name: &str) -> Option<u16> {
        self.by_relationship.get(name).or_else(|| self.by_relationship.get(&*name.to_ascii_lowercase())).copied()
    }

    /// Adds a field; the caller has checked that the name is free.
    fn push(&mut self, field: Field) {
        let number = self.fields.len() as u16;
        self.by_name.insert(field.name.to_ascii_lowercase().into(), number);
        self.by_name.insert((&*field.name).into(), number);
        if let Some(relationship) = field.reference.as_ref().and_then(|reference| reference.relationship.as_deref()) {
            self.by_relationship.insert(relationship.to_ascii_lowercase().into(), number);
            self.by_relationship.insert(relationship.into(), number);
        }
        self.fields.push(field);
    }

    /// True when the name ends in `__c`.
    pub fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }
}
