//! Objects and fields as the org works with them.

pub mod build;
pub mod children;
pub mod compound;
pub mod rules;
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
    Address,
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
            Kind::Address => "address",
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
            Kind::Address => "urn:address",
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
    /// Made of `FirstName`, `LastName` and the other parts of a name.
    PersonName,
    /// Made of the parts of an address.
    Address,
    /// True while another field has one of the values in `Field::true_when`.
    Listed,
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
    /// The compound field that this is a part of.
    pub compound: Option<Arc<str>>,
    /// For `Storage::Listed`: the number of a field before this one and the values that make this true.
    pub true_when: Option<(u16, Vec<String>)>,
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

    /// True when the name ends in `__c`, or in `__s` as the parts of custom compounds do.
    pub fn custom(&self) -> bool {
        self.name.ends_with("__c") || self.name.ends_with("__s")
    }

    /// True for a field that tells who made or changed a record, or when.
    pub fn is_audit(&self) -> bool {
        use Storage::{CreatedById, CreatedDate, LastModifiedById, LastModifiedDate};
        matches!(self.storage, CreatedById | CreatedDate | LastModifiedById | LastModifiedDate)
    }

    /// True for a master-detail field.
    pub fn is_detail(&self) -> bool {
        self.reference.as_ref().is_some_and(|reference| reference.master_detail)
    }

    /// True when a query may filter and order by it.
    pub fn filterable(&self) -> bool {
        !self.long && self.kind != Kind::Address
    }
}

/// A compound field and the fields that it is made of.
#[derive(Clone, Debug)]
pub struct Compound {
    pub field: u16,
    /// The member's name in the compound's JSON and the number of its field, in the order in which they are written.
    pub parts: Vec<(&'static str, u16)>,
}

/// Numbers of the fields that a write has something to do with even when they are not sent.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub required: Vec<u16>,
    pub unique: Vec<u16>,
    pub auto_number: Vec<u16>,
    /// Fields that a new row gets a value for.
    pub defaulted: Vec<u16>,
    pub external_id: Vec<u16>,
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
    /// For a platform event: whether it is published at once rather than when its transaction is committed.
    pub publish_at_once: bool,
    /// In describe's order; a field never moves, new ones are added at the end.
    pub fields: Vec<Field>,
    /// The addresses.
    pub compounds: Vec<Compound>,
    /// Numbers of the fields that every write looks at.
    pub checks: Checks,
    /// Validation rules, in the order in which they are evaluated.
    pub rules: Vec<Arc<rules::Rule>>,
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
        let text_name = field.name_field && self.custom() && field.auto_number.is_none();
        let cell = field.storage == Storage::Cell;
        for (wanted, list) in [
            (cell && field.required, &mut self.checks.required),
            (field.unique, &mut self.checks.unique),
            (field.auto_number.is_some(), &mut self.checks.auto_number),
            (cell && (field.default.is_some() || &*field.name == "OwnerId" || text_name), &mut self.checks.defaulted),
            (field.external_id, &mut self.checks.external_id),
        ] {
            if wanted {
                list.push(number);
            }
        }
        if field.storage == Storage::Address {
            let members = compound::address_members(&field.name).into_iter();
            let parts: Vec<_> = members.filter_map(|(member, name)| Some((member, self.field(&name)?))).collect();
            for (_, part) in &parts {
                self.fields[usize::from(*part)].compound = Some(field.name.clone());
            }
            self.compounds.push(Compound { field: number, parts });
        }
        self.fields.push(field);
    }

    /// The parts of a compound; empty for any other field.
    pub fn parts(&self, field: u16) -> &[(&'static str, u16)] {
        self.compounds.iter().find(|compound| compound.field == field).map_or(&[], |compound| &compound.parts)
    }

    /// True for a platform event.
    pub fn is_event(&self) -> bool {
        self.name.ends_with("__e")
    }

    /// True when the name ends in `__c`.
    pub fn custom(&self) -> bool {
        self.name.ends_with("__c")
    }
}
