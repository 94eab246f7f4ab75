//! Settings of events, and channels as they are written in YAML.

use crate::schema::spec::Ordered;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of change events, platform events and their bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Hours for which events are kept.
    pub retention_h: u32,
    /// Bytes of events in memory; the oldest go first and are counted as dropped.
    pub memory_bytes_max: usize,
    /// Whether the org has bought the add-on: more events, and no limit of the entities.
    pub add_on: bool,
    /// Events delivered in 24 hours to all subscribers together; overrides the edition's.
    pub delivered_max: Option<u64>,
    /// Platform events published in an hour; overrides the edition's.
    pub published_max: Option<u64>,
    /// Changes in one transaction beyond which only an overflow is told.
    pub overflow_changes: u64,
    /// Bytes of an event beyond which only a gap is told.
    pub event_bytes_max: usize,
    /// Whether the same change to several records of a transaction becomes one event.
    pub merge: bool,
    /// Whether changed long text comes as a diff.
    pub diffs: bool,
    /// Whether rows tell a lookup that their parent's deletion cleared or its undelete set again.
    pub tell_cleared_lookups: bool,
    /// Whether a live row that is deleted for good tells a delete. Salesforce's documents say that hard deletes are silent.
    pub tell_hard_deletes: bool,
    /// Milliseconds between the answers without events of a subscription that waits; Salesforce promises 270 s at most.
    pub keepalive_ms: u64,
    /// Milliseconds in which a subscriber that has got all it asked for must ask for more.
    pub credit_ms: u64,
    /// Milliseconds in which a publisher's stream must publish again.
    pub publish_idle_ms: u64,
    /// Milliseconds that a CometD connect waits for an event.
    pub connect_ms: u64,
    /// Milliseconds that a CometD client is told to wait between connects. A real org says 2,000.
    pub connect_interval_ms: u64,
    /// Subscriptions of the Pub/Sub API whose place the org keeps, by developer name.
    pub managed: Ordered<ManagedSpec>,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            retention_h: 72,
            memory_bytes_max: 256 * 1024 * 1024,
            add_on: false,
            delivered_max: None,
            published_max: None,
            overflow_changes: 100_000,
            event_bytes_max: 1_000_000,
            merge: true,
            diffs: true,
            tell_cleared_lookups: true,
            tell_hard_deletes: false,
            keepalive_ms: 60_000,
            credit_ms: 60_000,
            publish_idle_ms: 70_000,
            connect_ms: 110_000,
            connect_interval_ms: 0,
            managed: Ordered::default(),
        }
    }
}

/// A subscription whose place the org keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManagedSpec {
    pub topic: String,
    /// Where it begins before anything was committed.
    #[serde(default)]
    pub default_replay: Begin,
    /// Where it begins when what was committed is no longer valid.
    #[serde(default)]
    pub error_recovery_replay: Begin,
    /// Whether it runs; a stopped one refuses its subscriber.
    #[serde(default = "yes")]
    pub run: bool,
}

fn yes() -> bool {
    true
}

/// An end of the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    #[default]
    Latest,
    Earliest,
}

/// A channel: `ChangeEvents`, or one of its own whose name ends in `__chn`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelSpec {
    /// Objects whose changes the channel carries, or platform events; never both.
    pub members: Vec<MemberSpec>,
}

/// A member of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MemberSpec {
    Name(String),
    Full(FullMember),
}

/// A member with more to say of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullMember {
    /// The object or the platform event.
    pub entity: String,
    /// Fields whose value comes with every update and delete, at most ten.
    #[serde(default)]
    pub enrich: Vec<String>,
    /// Only events that meet this condition: `= != < > <= >= LIKE AND OR`, parentheses.
    #[serde(default)]
    pub filter: Option<String>,
}

impl MemberSpec {
    /// The member in full.
    pub fn full(&self) -> FullMember {
        match self {
            MemberSpec::Name(entity) => FullMember { entity: entity.clone(), ..FullMember::default() },
            MemberSpec::Full(member) => member.clone(),
        }
    }
}
