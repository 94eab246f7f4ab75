//! What an org's governor is told: shares, what the org has bought, where the ledger lies.

use super::values::Percent;
use governor::{AllocationSpec, Edition, Entitlement, LevelSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The pipeline's share of the org's allocations: `50%`, or `{default: 50%, DailyBulkApiBatches: 80%}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    pub default: Percent,
    /// By the allocation's name in `/limits`. For a level, such as `DataStorageMB`: up to where records are created.
    pub by: BTreeMap<String, Percent>,
}

impl Shares {
    /// The same share of everything.
    pub fn of(default: Percent) -> Self {
        Self { default, by: BTreeMap::new() }
    }

    /// The share of one allocation.
    pub fn of_allocation(&self, name: &str) -> Percent {
        self.by.get(name).copied().unwrap_or(self.default)
    }

    /// Names that no allocation has.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = |name: &str| {
            AllocationSpec::all().iter().any(|row| row.is_named(name))
                || LevelSpec::all().iter().any(|level| level.is_named(name))
        };
        self.by.keys().map(String::as_str).filter(move |name| !known(name))
    }

    /// Every name that may stand in the map.
    pub fn names() -> Vec<String> {
        let rows = AllocationSpec::all().into_iter().map(|row| row.name.to_string());
        rows.chain(LevelSpec::all().into_iter().map(|level| level.name.to_string())).collect()
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Shares;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a percentage, or {default: 50%, DailyBulkApiBatches: 80%}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Shares, E> {
                Percent::parse(text).map(Shares::of).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shares, A::Error> {
                let mut by = BTreeMap::new();
                while let Some((name, share)) = map.next_entry::<String, Percent>()? {
                    if by.insert(name.clone(), share).is_some() {
                        return Err(A::Error::custom(format!("{name} stands here twice")));
                    }
                }
                let default = by.remove("default").unwrap_or(DEFAULT_SHARE);
                Ok(Shares { default, by })
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

/// The share where none is given.
pub(super) const DEFAULT_SHARE: Percent = Percent(50.0);

impl JsonSchema for Shares {
    fn schema_name() -> Cow<'static, str> {
        "Shares".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let percent = generator.subschema_for::<Percent>();
        let names = Shares::names();
        let properties: serde_json::Map<String, serde_json::Value> =
            names.into_iter().chain(["default".to_owned()]).map(|name| (name, percent.clone().to_value())).collect();
        json_schema!({
            "description": "A percentage, or one for each allocation: {default: 50%, DailyBulkApiBatches: 80%}",
            "oneOf": [percent, {"type": "object", "properties": properties, "additionalProperties": false}]
        })
    }
}

/// What the org has bought: the maxima that are assumed until the org has told its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EntitlementConfig {
    #[serde(default)]
    pub edition: EditionConfig,
    /// Salesforce and Salesforce Platform licences.
    #[serde(default)]
    pub licences: u64,
    /// API requests a day that were bought on top.
    #[serde(default)]
    pub api_requests_added: u64,
    /// Platform event add-ons.
    #[serde(default)]
    pub event_add_ons: u64,
}

/// The org's edition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EditionConfig {
    #[default]
    Developer,
    Professional,
    Enterprise,
    Unlimited,
    Performance,
    FullSandbox,
}

impl From<EntitlementConfig> for Entitlement {
    fn from(config: EntitlementConfig) -> Self {
        let edition = match config.edition {
            EditionConfig::Developer => Edition::Developer,
            EditionConfig::Professional => Edition::Professional,
            EditionConfig::Enterprise => Edition::Enterprise,
            EditionConfig::Unlimited => Edition::Unlimited,
            EditionConfig::Performance => Edition::Performance,
            EditionConfig::FullSandbox => Edition::FullSandbox,
        };
        let EntitlementConfig { licences, api_requests_added, event_add_ons, .. } = config;
        Self { edition, licences, api_requests_added, event_add_ons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_for_all_or_one_for_each() {
        let parse = |text: &str| serde_json::from_str::<Shares>(text);
        assert_eq!(parse(r#""40%""#).unwrap(), Shares::of(Percent(40.0)));
        let each = parse(r#"{"default": "30%", "DailyBulkApiBatches": "80%", "DataStorageMB": "95%"}"#).unwrap();
        assert_eq!((each.default, each.by["DailyBulkApiBatches"]), (Percent(30.0), Percent(80.0)));
        assert_eq!(each.unknown().count(), 0);
        assert_eq!(parse(r#"{"DailyApiRequests": "80%"}"#).unwrap().default, DEFAULT_SHARE);
        let wrong = parse(r#"{"DailyApiRequest": "80%"}"#).unwrap();
        assert_eq!(wrong.unknown().collect::<Vec<_>>(), ["DailyApiRequest"]);
        for text in
            [r#""50""#, r#"{"default": "0%"}"#, "12", "[]", r#"{"DailyApiRequests": "10%", "DailyApiRequests": "20%"}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
