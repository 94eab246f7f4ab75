//! From an object to the schema of its events, and from rows to their values.
//!
//! ```text
//! object: Name  BillingStreet  BillingCity  Phone  Tier__c        (fields as REST knows them)
//!           │        └──────┬──────┘          │       │
//! event:  Name 1     BillingAddress 2      Phone 3  Tier__c 4     (header: 0; compounds as records)
//! ```
//!
//! A schema's id is made from its text: the same fields have the same id, and a changed field gives a new one.

use super::avro::{Datum, Enum, Member, Record, Type};
use crate::ids::SfId;
use crate::schema::{Field, Kind, Object, Storage};
use crate::store::Row;
use crate::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::{Arc, LazyLock};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What was done to a record, or what is known of it; the discriminant is the symbol's number in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeType {
    Create,
    Update,
    Delete,
    Undelete,
    GapCreate,
    GapUpdate,
    GapDelete,
    GapUndelete,
    GapOverflow,
}

const SYMBOLS: &[&str] = &[
    "CREATE",
    "UPDATE",
    "DELETE",
    "UNDELETE",
    "GAP_CREATE",
    "GAP_UPDATE",
    "GAP_DELETE",
    "GAP_UNDELETE",
    "GAP_OVERFLOW",
    "SNAPSHOT",
];

impl ChangeType {
    /// The symbol in the schema.
    pub fn word(self) -> &'static str {
        SYMBOLS[self as usize]
    }

    /// Parses a symbol.
    pub fn from_word(word: &str) -> Option<Self> {
        use ChangeType::*;
        [Create, Update, Delete, Undelete, GapCreate, GapUpdate, GapDelete, GapUndelete, GapOverflow]
            .into_iter()
            .find(|change| change.word() == word)
    }

    /// The gap that stands for this change when it cannot be told.
    pub fn gap(self) -> Self {
        match self {
            ChangeType::Create => ChangeType::GapCreate,
            ChangeType::Update => ChangeType::GapUpdate,
            ChangeType::Delete => ChangeType::GapDelete,
            ChangeType::Undelete => ChangeType::GapUndelete,
            gap => gap,
        }
    }
}

static HEADER: LazyLock<Arc<Record>> = LazyLock::new(|| {
    let symbols = Arc::new(Enum { name: "ChangeType", symbols: SYMBOLS });
    Arc::new(Record {
        name: "ChangeEventHeader".into(),
        doc: None,
        fields: vec![
            plain("entityName", Type::Text),
            plain("recordIds", Type::Texts),
            plain("changeType", Type::Enum(symbols)),
            plain("changeOrigin", Type::Text),
            plain("transactionKey", Type::Text),
            plain("sequenceNumber", Type::Int),
            plain("commitTimestamp", Type::Long),
            plain("commitNumber", Type::Long),
            plain("commitUser", Type::Text),
            plain("nulledFields", Type::Texts),
            plain("diffFields", Type::Texts),
            plain("changedFields", Type::Texts),
        ],
    })
});

/// Members of an address compound; those that an object lacks are null.
const ADDRESS: [&str; 8] =
    ["Street", "City", "State", "PostalCode", "Country", "Latitude", "Longitude", "GeocodeAccuracy"];

static ADDRESS_RECORD: LazyLock<Arc<Record>> = LazyLock::new(|| {
    let member = |name: &&str| match *name {
        "Latitude" | "Longitude" => documented(name, Type::Double.nullable(), "Data:Double"),
        "GeocodeAccuracy" => documented(name, Type::Text.nullable(), "Data:DynamicEnum"),
        _ => documented(name, Type::Text.nullable(), "Data:Text"),
    };
    Arc::new(Record { name: "Address".into(), doc: None, fields: ADDRESS.iter().map(member).collect() })
});

static LOCATION_RECORD: LazyLock<Arc<Record>> = LazyLock::new(|| {
    let member = |name: &str| documented(name, Type::Double.nullable(), "Data:Double");
    let fields = vec![member("Latitude"), member("Longitude")];
    Arc::new(Record { name: "Location".into(), doc: None, fields })
});

/// Members of a person's name.
const PERSON: [&str; 6] = ["Salutation", "FirstName", "LastName", "MiddleName", "InformalName", "Suffix"];

fn person_record(name: &str) -> Arc<Record> {
    let member = |name: &&str| documented(name, Type::Text.nullable(), "Data:Text");
    Arc::new(Record { name: name.into(), doc: None, fields: PERSON.iter().map(member).collect() })
}

fn plain(name: &str, kind: Type) -> Member {
    Member { name: name.into(), kind, doc: None }
}

fn documented(name: &str, kind: Type, doc: &str) -> Member {
    Member { name: name.into(), kind, doc: Some(doc.into()) }
}

/// Where the value of an event's field comes from: numbers of the object's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Header,
    Field(u16),
    Compound(Vec<Option<u16>>),
}

/// The schema of an object's change events, or of a platform event.
#[derive(Debug)]
pub struct EventSchema {
    pub id: Arc<str>,
    pub json: Arc<str>,
    /// The object (`Account`) or the platform event (`Shipped__e`).
    pub entity: Arc<str>,
    /// Always a record.
    pub kind: Type,
    pub origins: Vec<Origin>,
    /// Where each field of the object is in the event: position, and position in the compound.
    places: Vec<Option<(u16, Option<u16>)>>,
    /// The object as it was when the schema was worked out.
    pub object: Arc<Object>,
}

impl EventSchema {
    /// Works the schema out.
    pub fn new(object: &Object) -> Self {
        let (fields, origins) = if object.is_event() { event_fields(object) } else { change_fields(object) };
        let name = if object.is_event() { object.name.to_string() } else { change_event_name(&object.name) };
        let kind = Type::Record(Arc::new(Record { name, doc: None, fields }));
        let json = kind.schema(&mut Vec::new()).to_string();
        let mut places = vec![None; object.fields.len()];
        for (at, origin) in origins.iter().enumerate() {
            let at = at as u16;
            match origin {
                Origin::Header => {}
                Origin::Field(field) => places[usize::from(*field)] = Some((at, None)),
                Origin::Compound(parts) => {
                    for (inner, field) in parts.iter().enumerate().filter_map(|(inner, field)| Some((inner, (*field)?)))
                    {
                        places[usize::from(field)] = Some((at, Some(inner as u16)));
                    }
                }
            }
        }
        Self {
            id: URL_SAFE_NO_PAD.encode(xxh3_128(json.as_bytes()).to_be_bytes()).into(),
            json: json.into(),
            entity: object.name.clone(),
            kind,
            origins,
            places,
            object: Arc::new(object.clone()),
        }
    }

    /// True when the object is as it was when the schema was worked out.
    pub fn fits(&self, object: &Object) -> bool {
        self.places.len() == object.fields.len() && self.object.changed_ms == object.changed_ms
    }

    /// Where a field of the object is in the event; none for one that events leave out.
    pub fn place(&self, field: u16) -> Option<(u16, Option<u16>)> {
        self.places.get(usize::from(field)).copied().flatten()
    }

    /// The fields of the event.
    pub fn members(&self) -> &[Member] {
        self.kind.record().map_or(&[], |record| &record.fields)
    }

    /// The position of a field of the event by name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.members().iter().position(|member| member.name.eq_ignore_ascii_case(name))
    }

    /// The value at a position, from a row.
    pub fn value(&self, object: &Object, row: &Row, position: usize) -> Datum {
        match &self.origins[position] {
            Origin::Header => Datum::Null,
            Origin::Field(field) => datum(&object.fields[usize::from(*field)], &row.value(object, *field)),
            Origin::Compound(parts) => {
                let part = |part: &Option<u16>| match part {
                    Some(field) => datum(&object.fields[usize::from(*field)], row.cell(*field)),
                    None => Datum::Null,
                };
                let members: Vec<Datum> = parts.iter().map(part).collect();
                if members.iter().all(Datum::is_null) { Datum::Null } else { Datum::Record(members) }
            }
        }
    }

    /// Writes an event's payload.
    pub fn encode(&self, values: Vec<Datum>) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        Datum::Record(values).write(&self.kind, &mut out);
        out
    }
}

/// `Account` → `AccountChangeEvent`, `Order__c` → `Order__ChangeEvent`.
pub fn change_event_name(object: &str) -> String {
    match object.strip_suffix("__c") {
        Some(stem) => format!("{stem}__ChangeEvent"),
        None => format!("{object}ChangeEvent"),
    }
}

/// An event's value of a field.
pub fn datum(field: &Field, value: &Value) -> Datum {
    match value {
        // A compound is put together from its parts.
        Value::Null | Value::Compound(_) => Datum::Null,
        Value::Bool(value) => Datum::Boolean(*value),
        // A decimal's text always reads as a float.
        Value::Number(number) if field.kind == Kind::Int => Datum::Int(number.to_string().parse().unwrap_or(i32::MAX)),
        Value::Number(number) => Datum::Double(number.to_string().parse().unwrap_or(f64::NAN)),
        Value::Text(text) => Datum::Text(text.clone()),
        Value::Id(id) => Datum::Text(id.as_str().into()),
        Value::Date(days) => Datum::Long(i64::from(*days) * 86_400_000),
        Value::Datetime(ms) => Datum::Long(*ms),
        Value::Time(ms) => Datum::Long(i64::from(*ms)),
    }
}

fn type_and_doc(object: &Object, field: &Field) -> (Type, String) {
    let (kind, doc) = match field.kind {
        Kind::Boolean => (Type::Boolean, "Data:Boolean"),
        Kind::Int => (Type::Int, "Data:Integer"),
        Kind::Double => (Type::Double, "Data:Double"),
        Kind::Currency => (Type::Double, "Data:Currency"),
        Kind::Percent => (Type::Double, "Data:Percent"),
        Kind::Date => (Type::Long, "Data:DateOnly"),
        Kind::Datetime if field.storage == Storage::CreatedDate => (Type::Long, "CreatedDate:DateTime"),
        Kind::Datetime => (Type::Long, "Data:DateTime"),
        Kind::Time => (Type::Long, "Data:TimeOnly"),
        Kind::Picklist => (Type::Text, "Data:DynamicEnum"),
        Kind::MultiPicklist => (Type::Text, "Data:MultiEnum"),
        Kind::Email => (Type::Text, "Data:Email"),
        Kind::Phone => (Type::Text, "Data:Phone"),
        Kind::Url => (Type::Text, "Data:Url"),
        Kind::TextArea if field.long => (Type::Text, "Data:StringPlusClob"),
        Kind::Reference => (Type::Text, "ForeignKey:EntityId"),
        _ => (Type::Text, "Data:Text"),
    };
    if !field.custom() {
        return (kind, doc.to_owned());
    }
    let number = xxh3_64(format!("{}.{}", object.name, field.name).as_bytes()) % 62u64.pow(9);
    (kind, format!("{doc}:{}", SfId::new(*b"00N", number).short()))
}

/// The order of an event's fields: the object's own, then who and when, then custom ones; a custom object has its owner and
/// name first.
fn rank(object: &Object, field: &Field) -> usize {
    let audit = ["OwnerId", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"];
    match audit.iter().position(|name| *name == &*field.name) {
        Some(0) if object.custom() => 0,
        Some(at) => 2 + at,
        None if field.custom() || field.name.ends_with("__s") => 10,
        None => 1,
    }
}

fn change_fields(object: &Object) -> (Vec<Member>, Vec<Origin>) {
    let mut fields = vec![Member {
        name: "ChangeEventHeader".into(),
        kind: Type::Record(HEADER.clone()),
        doc: Some("Data:ComplexValueType".into()),
    }];
    let mut origins = vec![Origin::Header];
    let mut numbers: Vec<u16> = (0..object.fields.len() as u16).collect();
    numbers.sort_by_key(|number| rank(object, &object.fields[usize::from(*number)]));
    let compounds = compounds(object);
    for number in numbers {
        let field = &object.fields[usize::from(number)];
        if matches!(field.storage, Storage::Id | Storage::IsDeleted | Storage::SystemModstamp) {
            continue;
        }
        if let Some(compound) = compounds.iter().find(|compound| compound.holds(number)) {
            if compound.parts.iter().flatten().min() == Some(&number) {
                fields.push(documented(&compound.name, Type::Record(compound.record.clone()).nullable(), compound.doc));
                origins.push(Origin::Compound(compound.parts.clone()));
            }
            continue;
        }
        // The compound as REST shows it, beside its parts.
        if compounds.iter().any(|compound| *compound.name == *field.name) {
            continue;
        }
        let (kind, doc) = type_and_doc(object, field);
        let (kind, doc) = match (&*object.name, &*field.name) {
            ("Account", "Name") => {
                let person = Type::Record(person_record("Switchable_PersonName"));
                (Type::Union(vec![Type::Null, kind, person]), "Data:Switchable_PersonName".to_owned())
            }
            _ => (kind.nullable(), doc),
        };
        fields.push(Member { name: field.name.clone(), kind, doc: Some(doc) });
        origins.push(Origin::Field(number));
    }
    (fields, origins)
}

fn event_fields(object: &Object) -> (Vec<Member>, Vec<Origin>) {
    let mut fields = vec![
        documented("CreatedDate", Type::Long, "CreatedDate:DateTime"),
        documented("CreatedById", Type::Text, "CreatedBy:EntityId"),
    ];
    let system = |name| Origin::Field(object.field(name).unwrap_or_default());
    let mut origins = vec![system("CreatedDate"), system("CreatedById")];
    for (number, field) in object.fields.iter().enumerate().filter(|(_, field)| field.custom()) {
        let (kind, doc) = type_and_doc(object, field);
        fields.push(Member { name: field.name.clone(), kind: kind.nullable(), doc: Some(doc) });
        origins.push(Origin::Field(number as u16));
    }
    (fields, origins)
}

struct Compound {
    name: String,
    record: Arc<Record>,
    doc: &'static str,
    parts: Vec<Option<u16>>,
}

impl Compound {
    fn holds(&self, field: u16) -> bool {
        self.parts.contains(&Some(field))
    }
}

/// Addresses, geolocations and names that the object's fields make up.
fn compounds(object: &Object) -> Vec<Compound> {
    let mut found = Vec::new();
    let part = |name: String| {
        object.field(&name).filter(|number| object.fields[usize::from(*number)].storage == Storage::Cell)
    };
    for address in &object.compounds {
        let of = |name: &&str| {
            address.parts.iter().find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
        };
        found.push(Compound {
            name: object.fields[usize::from(address.field)].name.to_string(),
            record: ADDRESS_RECORD.clone(),
            doc: "Data:Address",
            parts: ADDRESS.iter().map(of).collect(),
        });
    }
    for field in &object.fields {
        if let Some(stem) = field.name.strip_suffix("__Latitude__s").filter(|_| field.compound.is_none()) {
            let parts = ["Latitude", "Longitude"].map(|name| part(format!("{stem}__{name}__s"))).into();
            let name = format!("{stem}__c");
            found.push(Compound { name, record: LOCATION_RECORD.clone(), doc: "Data:Location", parts });
        }
        if field.storage == Storage::PersonName {
            let parts = PERSON.iter().map(|name| part((*name).to_owned())).collect();
            let name = field.name.to_string();
            found.push(Compound { name, record: person_record("PersonName"), doc: "Data:PersonName", parts });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::build;

    fn schemas(yaml: &str) -> Vec<(Object, EventSchema)> {
        let base = build::extend(&[], &build::standard().unwrap(), 0).unwrap();
        let objects = build::extend(&base, &build::parse_yaml(yaml, "test").unwrap(), 1).unwrap();
        objects.into_iter().map(|object| (object.clone(), EventSchema::new(&object))).collect()
    }

    fn of<'a>(schemas: &'a [(Object, EventSchema)], name: &str) -> &'a EventSchema {
        &schemas.iter().find(|(object, _)| &*object.name == name).unwrap().1
    }

    fn names(schema: &EventSchema) -> Vec<&str> {
        schema.members().iter().map(|member| &*member.name).collect()
    }

    #[test]
    fn every_schema_is_valid_avro_and_its_id_has_22_characters() {
        for (object, schema) in schemas("objects: {A__c: {fields: {X__c: {type: int}, Y__c: {type: date}}}}") {
            apache_avro::Schema::parse_str(&schema.json).unwrap_or_else(|error| panic!("{}: {error}", object.name));
            assert_eq!(schema.id.len(), 22);
        }
    }

    #[test]
    fn compounds_take_the_place_of_their_parts_and_system_fields_are_left_out() {
        let schemas = schemas("objects: {Account: {fields: {Tier__c: {}}}}");
        let account = of(&schemas, "Account");
        let names = names(account);
        assert_eq!(names[0], "ChangeEventHeader");
        for (name, there) in [
            ("BillingAddress", true),
            ("ShippingAddress", true),
            ("BillingStreet", false),
            ("IsDeleted", false),
            ("SystemModstamp", false),
            ("Id", false),
            ("LastModifiedDate", true),
        ] {
            assert_eq!(names.contains(&name), there, "{name}");
        }
        assert_eq!(names.last(), Some(&"Tier__c"));
        assert!(account.json.contains("Data:Switchable_PersonName") && account.json.contains("Data:Text:00N"));
        let object = &schemas.iter().find(|(object, _)| &*object.name == "Account").unwrap().0;
        let city = account.place(object.field("BillingCity").unwrap()).unwrap();
        assert_eq!(city, (account.position("BillingAddress").unwrap() as u16, Some(1)));
        assert!(names_of_contact(&schemas).contains(&"MailingAddress"));
    }

    fn names_of_contact(schemas: &[(Object, EventSchema)]) -> Vec<&str> {
        let contact = of(schemas, "Contact");
        let name = contact.members().iter().find(|member| &*member.name == "Name").unwrap();
        assert_eq!(name.kind.record().unwrap().name, "PersonName");
        names(contact)
    }

    #[test]
    fn changed_object_gets_a_new_id_and_the_same_fields_keep_theirs() {
        let before = schemas("objects: {A__c: {fields: {X__c: {}}}}");
        let same = schemas("objects: {A__c: {fields: {X__c: {}}}}");
        let after = schemas("objects: {A__c: {fields: {X__c: {}, Y__c: {}}}}");
        assert_eq!(of(&before, "A__c").id, of(&same, "A__c").id);
        assert_ne!(of(&before, "A__c").id, of(&after, "A__c").id);
        assert!(!of(&before, "A__c").fits(&after.last().unwrap().0));
    }

    #[test]
    fn platform_event_has_who_and_when_and_its_own_fields() {
        let schemas = schemas("objects: {Shipped__e: {fields: {Order__c: {}, Total__c: {type: number}}}}");
        let event = of(&schemas, "Shipped__e");
        assert_eq!(names(event), ["CreatedDate", "CreatedById", "Order__c", "Total__c"]);
        assert!(event.json.contains("\"namespace\":\"com.sforce.eventbus\""));
    }
}
