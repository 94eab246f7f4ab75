//! Objects as they are written in YAML (and sent to `POST /_sim/objects`).

use crate::events::ChannelSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A mapping that keeps the order of the text and refuses a name that appears twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut members: Vec<(String, T)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("{name} appears twice")));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Ordered(members))
            }

            fn visit_unit<E>(self) -> Result<Ordered<T>, E> {
                Ok(Ordered::default())
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<T: Serialize> Serialize for Ordered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<T: JsonSchema> JsonSchema for Ordered<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <std::collections::BTreeMap<String, T>>::json_schema(generator)
    }
}

/// A file of objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsSpec {
    /// Objects by API name. An object that exists already gets the fields that it lacks.
    #[serde(default)]
    pub objects: Ordered<ObjectSpec>,
    /// Event channels by name: `ChangeEvents` for the objects whose changes are told, others end in `__chn`.
    #[serde(default)]
    pub channels: Ordered<ChannelSpec>,
}

/// An object: a standard one, a custom one whose name ends in `__c`, or a platform event whose name ends in `__e`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectSpec {
    /// Label; from the name if left out.
    pub label: Option<String>,
    /// Plural label.
    pub plural: Option<String>,
    /// Key prefix of three characters; the next free custom one (`a00`, `a01`, …) if left out.
    pub prefix: Option<String>,
    /// The `Name` field of a custom object: text (default) or an auto-number.
    pub name: Option<NameSpec>,
    pub createable: Option<bool>,
    pub updateable: Option<bool>,
    pub deletable: Option<bool>,
    pub queryable: Option<bool>,
    /// Whether records have an owner; by default those that are not details have one.
    pub owner: Option<bool>,
    /// When a platform event is published: immediately (default) or after_commit.
    pub publish: Option<Publish>,
    /// Validation rules by name.
    pub rules: Ordered<RuleSpec>,
    /// Fields by API name. The system fields (`Id`, `CreatedDate`, …) are always there.
    pub fields: Ordered<FieldSpec>,
}

/// When a platform event that comes as a record is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// At once, even if its transaction is rolled back.
    Immediately,
    AfterCommit,
}

/// The `Name` field of a custom object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum NameSpec {
    /// Text of 80 characters; the record's id when it is not given.
    Text,
    /// A running number in a format such as `O-{00000}`.
    AutoNumber(String),
}

/// A field's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    #[default]
    Text,
    TextArea,
    LongTextArea,
    Picklist,
    MultiPicklist,
    Checkbox,
    /// A whole number of at most `precision` digits.
    Int,
    Number,
    Currency,
    Percent,
    Date,
    Datetime,
    Time,
    Email,
    Phone,
    Url,
    Lookup,
    MasterDetail,
    AutoNumber,
    /// First and last name together, read only (Contact, Lead, User).
    PersonName,
    /// Street, city and so on together, read only; the parts are added as fields of their own.
    Address,
}

/// What becomes of the children when their parent is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDelete {
    /// The lookup is cleared; a required one holds its parent instead, as `restrict` does.
    #[default]
    Clear,
    /// The parent cannot be deleted.
    Restrict,
    /// The children are deleted too. Always so for master-detail.
    Cascade,
}

/// One object's name, or several for a polymorphic lookup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Targets {
    One(String),
    Several(Vec<String>),
}

/// A validation rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// CEL over the fields' API names, `old`, `is_new` and `now`: true refuses the write.
    pub when: String,
    /// The error's message.
    pub message: String,
    /// The field that the error stands at; the record if left out.
    #[serde(default)]
    pub field: Option<String>,
    /// Whether the rule counts; true if left out.
    #[serde(default)]
    pub active: Option<bool>,
}

/// What makes a read-only checkbox true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrueWhen {
    pub field: String,
    pub values: Vec<String>,
}

/// A field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldSpec {
    #[serde(rename = "type")]
    pub kind: FieldType,
    pub label: Option<String>,
    /// Characters, for text. Defaults: text 255, text_area 255, long_text_area 32768, email 80, phone 40, url 255.
    pub length: Option<u32>,
    /// Digits in all, for numbers: at most and by default 18.
    pub precision: Option<u8>,
    /// Digits after the point, for numbers. Default 0; 2 for currency and percent.
    pub scale: Option<u8>,
    pub required: bool,
    pub unique: bool,
    /// May be the key of an upsert, and of a relationship written by external id.
    pub external_id: bool,
    /// May be the key of an upsert although it is no external id (`Email` of Contact).
    pub id_lookup: bool,
    /// Whether unique values and upsert keys differ by case.
    pub case_sensitive: bool,
    /// Values of a picklist.
    pub values: Vec<String>,
    /// Whether values outside the list are refused.
    pub restricted: bool,
    /// Value of a new record that does not give one: text, number or boolean.
    pub default: Option<serde_json::Value>,
    /// Object or objects that a lookup points to.
    pub to: Option<Targets>,
    /// Relationship name from child to parent; from the field's name if left out (`AccountId` → `Account`, `Order__c` → `Order__r`).
    pub relationship: Option<String>,
    pub on_delete: OnDelete,
    /// Master-detail only: whether a child may move to another parent.
    pub reparentable: bool,
    pub createable: Option<bool>,
    pub updateable: Option<bool>,
    /// Auto-number format such as `C-{000000}`.
    pub format: Option<String>,
    /// Checkbox only, read only then: true while another field, defined before it, has one of these values.
    pub true_when: Option<TrueWhen>,
}
