//! The event bus: gives events their replay ids and keeps them for a time.
//!
//! ```text
//! replay ids:   … trimmed │ 1003  1004  1006 │ 1007 …
//!                         └ earliest         └ last issued
//! ```
//!
//! Invariants:
//! 1. Replay ids rise and leave gaps; none is issued twice, not even after a reset.
//! 2. A replay id is valid while its event is kept. What is told as the latest id stays valid as long as an event would.

use super::config::EventsConfig;
use super::feed::Fresh;
use std::collections::VecDeque;

/// Bytes that an event takes beside its payload, roughly.
const EVENT_BYTES: usize = 200;

/// Latest ids of quiet times that are kept.
const MARKS_MAX: usize = 512;

/// A quiet bus issues a new latest id after this time, so that a follower's id does not age out.
const MARK_AFTER_MS: i64 = 3_600_000;

/// Events that are kept back at once; further ones become visible without delay.
const LATE_MAX: usize = 10_000;

/// An event on the bus.
#[derive(Clone, Debug)]
pub struct Stored {
    pub replay: u64,
    pub event: Fresh,
}

/// A count over a span of time that rolls.
#[derive(Clone, Debug)]
pub struct Window {
    span_ms: i64,
    max: u64,
    used: u64,
    /// Minute and count, oldest first.
    minutes: VecDeque<(i64, u64)>,
}

impl Window {
    /// Nothing used yet.
    pub fn new(span_ms: i64, max: u64) -> Self {
        Self { span_ms, max, used: 0, minutes: VecDeque::new() }
    }

    /// What may still be used. A use counts until its whole minute has left the span.
    pub fn left(&mut self, now_ms: i64) -> u64 {
        while let Some((minute, count)) = self.minutes.front().copied() {
            if (minute + 1) * 60_000 + self.span_ms > now_ms {
                break;
            }
            self.used -= count;
            self.minutes.pop_front();
        }
        self.max.saturating_sub(self.used)
    }

    /// Uses `count`.
    pub fn take(&mut self, now_ms: i64, count: u64) {
        self.used += count;
        let minute = now_ms.div_euclid(60_000);
        match self.minutes.back_mut() {
            Some((last, known)) if *last >= minute => *known += count,
            _ => self.minutes.push_back((minute, count)),
        }
    }

    /// Maximum, and what was used of it.
    pub fn figures(&mut self, now_ms: i64) -> (u64, u64) {
        self.left(now_ms);
        (self.max, self.used)
    }

    /// Forgets what was used.
    pub fn clear(&mut self) {
        self.used = 0;
        self.minutes.clear();
    }

    /// Sets the maximum.
    pub fn set_max(&mut self, max: u64) {
        self.max = max;
    }
}

/// The bus of an org.
#[derive(Debug)]
pub struct Bus {
    log: VecDeque<Stored>,
    bytes: usize,
    bytes_max: usize,
    retention_ms: i64,
    last: u64,
    last_ms: i64,
    /// Ids that were told as the latest while nothing came, and when.
    marks: VecDeque<(u64, i64)>,
    /// Events that become visible later, and when.
    late: Vec<(i64, Fresh)>,
    pub delivered: Window,
    pub published: Window,
    /// Events that went before their time, for want of memory.
    pub dropped: u64,
    /// Events that a fault rule swallowed.
    pub lost: u64,
    pub resets: u64,
}

impl Bus {
    /// An empty bus.
    pub fn new(config: &EventsConfig, delivered_max: u64, published_max: u64, now_ms: i64) -> Self {
        let mut bus = Self {
            log: VecDeque::new(),
            bytes: 0,
            bytes_max: config.memory_bytes_max,
            retention_ms: i64::from(config.retention_h) * 3_600_000,
            // As high as the ids of orgs that have lived for a while.
            last: 5_936_368,
            last_ms: now_ms,
            marks: VecDeque::new(),
            late: Vec::new(),
            delivered: Window::new(86_400_000, delivered_max),
            published: Window::new(3_600_000, published_max),
            dropped: 0,
            lost: 0,
            resets: 0,
        };
        bus.marks.push_back((bus.last, now_ms));
        bus
    }

    /// The newest id.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Goes on above `last`, which an earlier bus of the same org did not pass.
    pub fn resume_after(&mut self, last: u64, now_ms: i64) {
        self.reset(now_ms);
        self.last = self.last.max(last);
        self.marks.push_back((self.last, now_ms));
    }

    /// Adds an event; its replay id.
    pub fn put(&mut self, event: Fresh, now_ms: i64) -> u64 {
        // Steps of one to three, so that nobody takes the ids for contiguous.
        self.last += 1 + xxhash_rust::xxh3::xxh3_64(&self.last.to_le_bytes()) % 3;
        self.last_ms = now_ms;
        self.bytes += event.payload.len() + EVENT_BYTES;
        self.log.push_back(Stored { replay: self.last, event });
        self.trim(now_ms);
        self.last
    }

    /// Keeps an event back until `at_ms`.
    pub fn put_late(&mut self, event: Fresh, at_ms: i64) {
        if self.late.len() >= LATE_MAX {
            let now_ms = event.at_ms;
            self.put(event, now_ms);
            return;
        }
        self.late.push((at_ms, event));
    }

    /// Events that were kept back and whose time has come.
    pub fn due(&mut self, now_ms: i64) -> Vec<Fresh> {
        let mut due: Vec<(i64, Fresh)> = self.late.extract_if(.., |(at, _)| *at <= now_ms).collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, event)| event).collect()
    }

    /// When the next event that is kept back becomes visible.
    pub fn next_due(&self) -> Option<i64> {
        self.late.iter().map(|(at, _)| *at).min()
    }

    /// Removes what is too old or too much.
    pub fn trim(&mut self, now_ms: i64) {
        let oldest = now_ms - self.retention_ms;
        while let Some(front) = self.log.front() {
            let expired = front.event.at_ms <= oldest;
            if !expired && self.bytes <= self.bytes_max {
                break;
            }
            self.dropped += u64::from(!expired);
            self.bytes -= front.event.payload.len() + EVENT_BYTES;
            self.log.pop_front();
        }
        while self.marks.front().is_some_and(|(_, at)| *at <= oldest) || self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
    }

    /// The newest id, for a follower to resume from: it is valid, and stays so for as long as an event is kept.
    pub fn latest(&mut self, now_ms: i64) -> u64 {
        if now_ms - self.last_ms >= MARK_AFTER_MS || !self.is_valid(self.last) {
            self.last += 1;
            self.last_ms = now_ms;
            self.marks.push_back((self.last, now_ms));
            self.trim(now_ms);
        }
        self.last
    }

    /// The id before the first event that is kept.
    pub fn before_earliest(&self) -> u64 {
        self.log.front().map_or(self.last, |front| front.replay - 1)
    }

    /// Whether a follower may resume after this id.
    pub fn is_valid(&self, replay: u64) -> bool {
        let known = self.log.binary_search_by_key(&replay, |stored| stored.replay);
        known.is_ok() || self.marks.iter().any(|(mark, _)| *mark == replay)
    }

    /// The events after an id, in order.
    pub fn after(&self, replay: u64) -> impl Iterator<Item = &Stored> {
        let from = self.log.partition_point(|stored| stored.replay <= replay);
        self.log.range(from..)
    }

    /// How many events are kept, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.log.len(), self.bytes)
    }

    /// Loses everything, as when an org moves to another instance: no id from before is valid.
    pub fn reset(&mut self, now_ms: i64) {
        self.log.clear();
        self.marks.clear();
        self.late.clear();
        self.bytes = 0;
        self.resets += 1;
        self.last += 1_000_000;
        self.last_ms = now_ms;
        self.marks.push_back((self.last, now_ms));
    }

    /// Loses everything, and forgets what was used of the allocations.
    pub fn clear(&mut self, now_ms: i64) {
        self.reset(now_ms);
        self.delivered.clear();
        self.published.clear();
        (self.dropped, self.lost, self.resets) = (0, 0, 0);
    }

    /// Ends the time of every event that is kept.
    pub fn expire(&mut self, now_ms: i64) {
        self.log.clear();
        self.marks.clear();
        self.bytes = 0;
        self.last += 1;
        self.last_ms = now_ms;
        self.marks.push_back((self.last, now_ms));
    }
}

/// A replay id as the Pub/Sub API has it: ten bytes.
#[cfg_attr(not(feature = "pubsub"), allow(dead_code, reason = "only the Pub/Sub API asks"))]
pub fn replay_bytes(replay: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&replay.to_be_bytes());
    bytes
}

/// Reads a replay id; none for bytes that the bus never issues.
#[cfg_attr(not(feature = "pubsub"), allow(dead_code, reason = "only the Pub/Sub API asks"))]
pub fn parse_replay(bytes: &[u8]) -> Option<u64> {
    match bytes.split_at_checked(8)? {
        (number, [0, 0]) => Some(u64::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::schema::EventSchema;
    use crate::schema::build;
    use proptest::prelude::*;
    use std::sync::Arc;

    const HOUR_MS: i64 = 3_600_000;

    fn event(schema: &Arc<EventSchema>, at_ms: i64) -> Fresh {
        Fresh {
            schema: schema.clone(),
            change: None,
            records: Arc::new([]),
            payload: vec![0; 100].into(),
            uuid: "x".into(),
            at_ms,
        }
    }

    fn schema() -> Arc<EventSchema> {
        let spec = build::parse_yaml("objects: {A__e: {}, User: {prefix: '005'}}", "test").unwrap();
        Arc::new(EventSchema::new(&build::extend(&[], &spec, 0).unwrap()[0]))
    }

    fn bus(memory_bytes_max: usize) -> Bus {
        Bus::new(&EventsConfig { memory_bytes_max, ..EventsConfig::default() }, 10, 10, 0)
    }

    #[test]
    fn ids_rise_are_not_contiguous_and_none_is_issued_again_after_a_reset() {
        let (mut bus, schema) = (bus(usize::MAX), schema());
        let ids: Vec<u64> = (0..50).map(|at| bus.put(event(&schema, at), at)).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids[49] - ids[0] > 49);
        assert!(ids.iter().all(|id| bus.is_valid(*id)) && !bus.is_valid(ids[49] + 1));
        bus.reset(50);
        assert!(ids.iter().all(|id| !bus.is_valid(*id)));
        assert!(bus.put(event(&schema, 51), 51) > ids[49]);
    }

    #[test]
    fn events_go_after_their_time_or_for_want_of_memory_which_is_counted() {
        let (mut bus, schema) = (bus(3 * (100 + EVENT_BYTES)), schema());
        let ids: Vec<u64> = (0..5).map(|at| bus.put(event(&schema, at * HOUR_MS), at * HOUR_MS)).collect();
        assert_eq!((bus.dropped, bus.size().0), (2, 3));
        assert!(!bus.is_valid(ids[1]) && bus.is_valid(ids[2]));
        assert_eq!(bus.after(bus.before_earliest()).count(), 3);
        bus.trim(75 * HOUR_MS);
        assert_eq!((bus.dropped, bus.size().0), (2, 1));
        bus.trim(100 * HOUR_MS);
        assert_eq!(bus.size(), (0, 0));
        assert_eq!(bus.before_earliest(), ids[4]);
    }

    proptest! {
        #[test]
        fn latest_id_stays_valid_for_as_long_as_an_event(steps in prop::collection::vec((0i64..20 * HOUR_MS, any::<bool>()), 1..60)) {
            let (mut bus, schema) = (bus(usize::MAX), schema());
            let (mut now, mut told) = (0, Vec::new());
            for (wait, publish) in steps {
                now += wait;
                if publish {
                    bus.put(event(&schema, now), now);
                }
                bus.trim(now);
                told.push((bus.latest(now), now));
                prop_assert!(bus.is_valid(told[told.len() - 1].0));
                for (id, at) in &told {
                    // An id may be an hour old when it is told.
                    prop_assert!(bus.is_valid(*id) || now - at >= 71 * HOUR_MS, "{} told at {}", id, at);
                }
            }
        }

        #[test]
        fn window_never_lets_more_through_than_its_maximum_in_any_span(steps in prop::collection::vec((0i64..HOUR_MS, 1u64..5), 1..200), max in 1u64..12) {
            let mut window = Window::new(HOUR_MS, max);
            let (mut now, mut taken) = (1_000_000_007, Vec::new());
            for (wait, wanted) in steps {
                now += wait / 10;
                let count = wanted.min(window.left(now));
                window.take(now, count);
                taken.push((now, count));
                let last: u64 = taken.iter().filter(|(at, _)| now - at < HOUR_MS).map(|(_, count)| count).sum();
                prop_assert!(last <= max);
            }
        }

        #[test]
        fn any_bytes_are_a_replay_id_or_not(bytes in prop::collection::vec(any::<u8>(), 0..12), number in any::<u64>()) {
            prop_assert_eq!(parse_replay(&replay_bytes(number)), Some(number));
            if let Some(number) = parse_replay(&bytes) {
                prop_assert_eq!(replay_bytes(number).to_vec(), bytes);
            }
        }
    }
}
