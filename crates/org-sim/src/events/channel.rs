//! Which events a topic carries.
//!
//! ```text
//! /data/ChangeEvents            every selected object
//! /data/AccountChangeEvent      one of them
//! /data/Orders__chn             a channel of its own, its members perhaps enriched and filtered
//! /event/Shipped__e             a platform event
//! /event/Shipping__chn          several
//! ```

use super::config::{ChannelSpec, EventsConfig};
use super::filter::Filter;
use super::schema::change_event_name;
use crate::config::Edition;
use crate::error::SimError;
use crate::schema::{Kind, Object};
use hashbrown::HashSet;
use std::sync::Arc;

/// The channel of the objects that are selected in Setup.
pub const DEFAULT: &str = "ChangeEvents";

/// Objects of all channels together without the add-on.
const ENTITIES_MAX: usize = 5;

/// Channels beside the default one.
const CHANNELS_MAX: usize = 100;

/// Enriched fields of a member.
const ENRICHED_MAX: usize = 10;

/// A member of a channel.
#[derive(Clone, Debug)]
pub struct Member {
    pub entity: Arc<str>,
    /// Fields of the event whose value comes with every update and delete; those of the filter are among them.
    pub enrich: Vec<String>,
    pub filter: Option<Filter>,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: Arc<str>,
    /// Whether its members are platform events.
    pub platform: bool,
    pub members: Vec<Member>,
}

/// Checks the platform events among the objects: how many there are, and the types of their fields.
///
/// # Errors
/// `SimError::Definition`.
pub fn check_platform(objects: &[Object], edition: Edition) -> Result<(), SimError> {
    let max = match edition {
        Edition::Developer => 5,
        Edition::Enterprise => 50,
        Edition::Unlimited => 100,
    };
    let events = || objects.iter().filter(|object| object.is_event());
    if events().count() > max {
        return Err(SimError::definition("objects", format!("more than {max} platform events")));
    }
    for object in events() {
        for field in object.fields.iter().filter(|field| field.custom()) {
            let kind = match field.kind {
                Kind::Boolean | Kind::Date | Kind::Datetime | Kind::Double | Kind::Text | Kind::TextArea => continue,
                kind => kind.word(),
            };
            let place = format!("{}.{}", object.name, field.name);
            return Err(SimError::definition(place, format!("a platform event has no field of type {kind}")));
        }
    }
    Ok(())
}

/// What a subscription is about.
#[derive(Clone, Debug)]
pub enum Topic {
    /// One object's change events.
    Object(Arc<str>),
    /// One platform event.
    Platform(Arc<str>),
    Channel(Arc<Channel>),
}

impl Topic {
    /// The member that an event of this kind belongs to; none when the topic does not carry it.
    pub fn member(&self, entity: &str) -> Option<Option<&Member>> {
        match self {
            Topic::Object(name) | Topic::Platform(name) => (&**name == entity).then_some(None),
            Topic::Channel(channel) => channel.members.iter().find(|member| &*member.entity == entity).map(Some),
        }
    }

    /// The one kind of event that the topic carries.
    pub fn single(&self) -> Option<&Arc<str>> {
        match self {
            Topic::Object(name) | Topic::Platform(name) => Some(name),
            Topic::Channel(_) => None,
        }
    }
}

/// The channels of an org.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    all: Vec<Arc<Channel>>,
}

impl Channels {
    /// Takes channels over; one that is there already is replaced.
    ///
    /// # Errors
    /// `SimError::Definition`; nothing was changed.
    pub fn add(
        &mut self,
        specs: &[(String, ChannelSpec)],
        objects: &[Object],
        config: &EventsConfig,
    ) -> Result<(), SimError> {
        let mut all = self.all.clone();
        for (name, spec) in specs {
            let channel = Arc::new(channel(name, spec, objects)?);
            match all.iter_mut().find(|known| known.name == channel.name) {
                Some(known) => *known = channel,
                None => all.push(channel),
            }
        }
        if all.iter().filter(|channel| &*channel.name != DEFAULT).count() > CHANNELS_MAX {
            return Err(SimError::definition("channels", format!("more than {CHANNELS_MAX} channels")));
        }
        let selected = entities(&all);
        if !config.add_on && selected.len() > ENTITIES_MAX {
            return Err(SimError::definition(
                "channels",
                format!("change events of {} objects: more than {ENTITIES_MAX} need events.add_on", selected.len()),
            ));
        }
        self.all = all;
        Ok(())
    }

    /// The objects whose changes some channel carries.
    pub fn selected(&self) -> HashSet<Arc<str>> {
        entities(&self.all)
    }

    /// Every channel.
    pub fn all(&self) -> &[Arc<Channel>] {
        &self.all
    }

    /// Finds a topic by its name, which is case-sensitive.
    pub fn topic(&self, name: &str, objects: impl Iterator<Item = Arc<str>>) -> Option<Topic> {
        if let Some(event) = name.strip_prefix("/event/") {
            let found = self.all.iter().find(|channel| channel.platform && &*channel.name == event);
            if let Some(channel) = found {
                return Some(Topic::Channel(channel.clone()));
            }
            return objects
                .into_iter()
                .find(|object| object.ends_with("__e") && &**object == event)
                .map(Topic::Platform);
        }
        let wanted = name.strip_prefix("/data/")?;
        if let Some(channel) = self.all.iter().find(|channel| !channel.platform && &*channel.name == wanted) {
            return Some(Topic::Channel(channel.clone()));
        }
        let default = self.all.iter().find(|channel| &*channel.name == DEFAULT)?;
        let mut members = default.members.iter().map(|member| &member.entity);
        members.find(|entity| change_event_name(entity) == wanted).map(|entity| Topic::Object(entity.clone()))
    }
}

fn entities(channels: &[Arc<Channel>]) -> HashSet<Arc<str>> {
    let data = channels.iter().filter(|channel| !channel.platform);
    data.flat_map(|channel| &channel.members).map(|member| member.entity.clone()).collect()
}

fn channel(name: &str, spec: &ChannelSpec, objects: &[Object]) -> Result<Channel, SimError> {
    if name != DEFAULT && !name.ends_with("__chn") {
        return Err(SimError::definition(name, format!("a channel is {DEFAULT}, or its name ends in __chn")));
    }
    let mut channel = Channel { name: name.into(), platform: false, members: Vec::new() };
    for (at, spec) in spec.members.iter().map(super::config::MemberSpec::full).enumerate() {
        let place = format!("{name}.{}", spec.entity);
        let object = objects.iter().find(|object| object.name.eq_ignore_ascii_case(&spec.entity));
        let object = object.ok_or_else(|| SimError::definition(&place, "there is no such object"))?;
        if at == 0 {
            channel.platform = object.is_event();
        }
        if channel.platform != object.is_event() || (object.is_event() && name == DEFAULT) {
            return Err(SimError::definition(&place, "a channel has objects or platform events, never both"));
        }
        if channel.members.iter().any(|member| member.entity == object.name) {
            return Err(SimError::definition(&place, "the member appears twice"));
        }
        let filter = spec.filter.as_deref().map(Filter::parse).transpose();
        let filter = filter.map_err(|cause| SimError::definition(&place, format!("filter: {cause}")))?;
        let mut enrich = spec.enrich;
        if enrich.len() > ENRICHED_MAX {
            return Err(SimError::definition(&place, format!("more than {ENRICHED_MAX} enriched fields")));
        }
        let seen = filter.iter().flat_map(Filter::fields).filter(|field| !field.starts_with("ChangeEventHeader"));
        enrich.extend(seen.map(|field| field.split('.').next().unwrap_or(field).to_owned()));
        enrich.sort();
        enrich.dedup();
        check_enriched(&place, object, &enrich)?;
        channel.members.push(Member { entity: object.name.clone(), enrich, filter });
    }
    Ok(channel)
}

fn check_enriched(place: &str, object: &Object, fields: &[String]) -> Result<(), SimError> {
    let schema = super::schema::EventSchema::new(object);
    for name in fields {
        let position = schema.position(name).filter(|position| *position > 0 || object.is_event());
        let Some(position) = position else {
            return Err(SimError::definition(place, format!("its events have no field {name}")));
        };
        if let super::schema::Origin::Field(field) = schema.origins[position]
            && object.fields[usize::from(field)].long
        {
            return Err(SimError::definition(place, format!("{name} is long text, which cannot be enriched")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::build;

    fn channels(yaml: &str, add_on: bool) -> Result<(Channels, Vec<Object>), SimError> {
        let base = build::extend(&[], &build::standard()?, 0)?;
        let spec = build::parse_yaml(yaml, "test")?;
        let objects = build::extend(&base, &spec, 1)?;
        let mut channels = Channels::default();
        channels.add(&spec.channels.0, &objects, &EventsConfig { add_on, ..EventsConfig::default() })?;
        Ok((channels, objects))
    }

    #[test]
    fn topics_are_found_by_their_names_and_case_counts() {
        let yaml = "objects: {Order__c: {}, Shipped__e: {}}\n\
                    channels: {ChangeEvents: {members: [Account, Order__c]}, Mine__chn: {members: [Contact]}, Ship__chn: {members: [Shipped__e]}}";
        let (channels, objects) = channels(yaml, false).unwrap();
        for (name, there) in [
            ("/data/ChangeEvents", true),
            ("/data/AccountChangeEvent", true),
            ("/data/Order__ChangeEvent", true),
            ("/data/accountchangeevent", false),
            ("/data/ContactChangeEvent", false),
            ("/data/Mine__chn", true),
            ("/data/Ship__chn", false),
            ("/event/Ship__chn", true),
            ("/event/Shipped__e", true),
            ("/event/Order__c", false),
            ("/topic/x", false),
        ] {
            let found = channels.topic(name, objects.iter().map(|object| object.name.clone()));
            assert_eq!(found.is_some(), there, "{name}");
        }
        assert_eq!(channels.selected().len(), 3);
    }

    #[test]
    fn platform_events_have_few_types_and_are_few_in_a_developer_org() {
        let built = |yaml: &str| {
            let base = build::extend(&[], &build::standard()?, 0)?;
            let objects = build::extend(&base, &build::parse_yaml(yaml, "test")?, 1)?;
            check_platform(&objects, Edition::Developer)
        };
        built("objects: {A__e: {fields: {T__c: {type: long_text_area}, N__c: {type: number}}}}").unwrap();
        let error = built("objects: {A__e: {fields: {T__c: {type: email}}}}").unwrap_err().to_string();
        assert!(error.contains("A__e.T__c"), "{error}");
        built("objects: {A__e: {}, B__e: {}, C__e: {}, D__e: {}, E__e: {}}").unwrap();
        assert!(built("objects: {A__e: {}, B__e: {}, C__e: {}, D__e: {}, E__e: {}, F__e: {}}").is_err());
    }

    #[test]
    fn contradictions_are_refused_with_their_place() {
        for (yaml, place) in [
            ("channels: {Mine: {members: [Account]}}", "Mine"),
            ("channels: {Mine__chn: {members: [Nothing]}}", "Mine__chn.Nothing"),
            ("channels: {Mine__chn: {members: [Account, Account]}}", "Mine__chn.Account"),
            ("channels: {Mine__chn: {members: [{entity: Account, filter: 'Name ='}]}}", "Mine__chn.Account"),
            ("channels: {Mine__chn: {members: [{entity: Account, enrich: [Nothing]}]}}", "Mine__chn.Account"),
            ("channels: {Mine__chn: {members: [{entity: Account, enrich: [Description]}]}}", "Mine__chn.Account"),
            ("{objects: {E__e: {}}, channels: {Mine__chn: {members: [Account, E__e]}}}", "Mine__chn.E__e"),
            ("channels: {ChangeEvents: {members: [Account, Contact, Lead, Case, Opportunity, Product2]}}", "channels"),
        ] {
            let error = channels(yaml, false).unwrap_err();
            assert!(error.to_string().contains(&format!("at {place}:")), "{yaml}: {error}");
        }
        let six = "channels: {ChangeEvents: {members: [Account, Contact, Lead, Case, Opportunity, Product2]}}";
        assert_eq!(channels(six, true).unwrap().0.selected().len(), 6);
    }
}
