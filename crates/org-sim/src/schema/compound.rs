//! Compound fields: an address and the parts that it is made of.
//!
//! A part is a field of its own and is written alone; the compound is read only and is put together when it is read.

use super::spec::{FieldSpec, FieldType, Ordered};

/// One part of an address.
struct Part {
    /// The member in the JSON of the compound.
    member: &'static str,
    /// What the part of a standard address is called: `BillingStreet`.
    standard: &'static str,
    /// What the part of a custom address is called: `Home__Street__s`.
    custom: &'static str,
    kind: FieldType,
    length: u32,
}

const fn part(
    member: &'static str,
    standard: &'static str,
    custom: &'static str,
    kind: FieldType,
    length: u32,
) -> Part {
    Part { member, standard, custom, kind, length }
}

/// In describe's order.
const PARTS: [Part; 8] = [
    part("street", "Street", "Street", FieldType::TextArea, 255),
    part("city", "City", "City", FieldType::Text, 40),
    part("state", "State", "StateCode", FieldType::Text, 80),
    part("postalCode", "PostalCode", "PostalCode", FieldType::Text, 20),
    part("country", "Country", "CountryCode", FieldType::Text, 80),
    part("latitude", "Latitude", "Latitude", FieldType::Number, 0),
    part("longitude", "Longitude", "Longitude", FieldType::Number, 0),
    part("geocodeAccuracy", "GeocodeAccuracy", "GeocodeAccuracy", FieldType::Picklist, 40),
];

const ACCURACIES: [&str; 11] = [
    "Address",
    "NearAddress",
    "Block",
    "Street",
    "ExtendedZip",
    "Zip",
    "Neighborhood",
    "City",
    "County",
    "State",
    "Unknown",
];

/// The members of an address in the order in which REST writes them, with the name of the field of each.
pub fn address_members(compound: &str) -> Vec<(&'static str, String)> {
    let mut members: Vec<_> = PARTS.iter().map(|part| (part.member, part_name(compound, part))).collect();
    members.sort_unstable_by_key(|(member, _)| *member);
    members
}

/// The fields that make up person names, in the order in which they are put together.
pub const NAME_PARTS: [&str; 4] = ["FirstName", "MiddleName", "LastName", "Suffix"];

/// Fields whose `compoundFieldName` is `Name` where the name is a person's.
pub fn is_name_part(field: &str) -> bool {
    field == "Salutation" || NAME_PARTS.contains(&field)
}

fn part_name(compound: &str, part: &Part) -> String {
    match compound.strip_suffix("__c") {
        Some(stem) => format!("{stem}__{}__s", part.custom),
        None => format!("{}{}", compound.strip_suffix("Address").unwrap_or(compound), part.standard),
    }
}

/// Puts the parts of each address before it, those that the text has not got of its own.
pub fn with_parts(fields: &Ordered<FieldSpec>) -> Vec<(String, FieldSpec)> {
    let mut all: Vec<(String, FieldSpec)> = Vec::with_capacity(fields.0.len());
    for (name, spec) in &fields.0 {
        if spec.kind == FieldType::Address {
            for part in &PARTS {
                let part_name = part_name(name, part);
                if !fields.0.iter().any(|(known, _)| *known == part_name) {
                    all.push((part_name, part_spec(part)));
                }
            }
        }
        all.push((name.clone(), spec.clone()));
    }
    all
}

fn part_spec(part: &Part) -> FieldSpec {
    let number = part.kind == FieldType::Number;
    FieldSpec {
        kind: part.kind,
        length: (!number).then_some(part.length),
        precision: number.then_some(18),
        scale: number.then_some(15),
        values: match part.kind {
            FieldType::Picklist => ACCURACIES.map(str::to_owned).to_vec(),
            _ => Vec::new(),
        },
        restricted: part.kind == FieldType::Picklist,
        ..FieldSpec::default()
    }
}
