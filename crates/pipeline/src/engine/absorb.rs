//! From the reader's chunks into the window.

use super::error::EngineError;
use super::group::{Group, Pending};
use super::reader::{Chunk, ScannedKind};
use super::release::Release;
use crate::window::{Entry, PushError};
use model::{Lane, Offset, OffsetRange, Outcome, SettledRows};

impl Group {
    /// Pushes what the window takes of the chunk in hand. A full window keeps the rest for later, and so stops the reader.
    pub(super) fn absorb(&mut self) -> Result<(), EngineError> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        self.units.hear(std::mem::take(&mut pending.chunk.large));
        let mut filtered: Vec<Vec<Offset>> = vec![Vec::new(); self.routes.len()];
        let whole = self.push(&mut pending, &mut filtered)?;
        for (route, offsets) in filtered.into_iter().enumerate() {
            self.settle_filtered(route, offsets);
        }
        if !whole {
            self.pending = Some(pending);
            return Ok(());
        }
        let chunk = pending.chunk;
        self.window.advance_to(chunk.end);
        self.persist.touch();
        if let Some((route, at)) = chunk.halted {
            let run = &mut self.routes[usize::from(route)];
            let error = format!(
                "PS5506: the table was truncated at offset {} and the route's `truncate` is `refuse`: nothing behind it is \
                 read; empty {} if it should be, then set `truncate: ignore` and restart",
                at, run.route.spec.object
            );
            tracing::error!(route = %run.route.spec.id, %error, "the group stops reading");
            run.status.last_error = Some(error.clone());
            run.status.paused = Some(error.clone());
            run.halted = Some(error);
        }
        Ok(())
    }

    /// Returns whether all of it went in.
    fn push(&mut self, pending: &mut Pending, filtered: &mut [Vec<Offset>]) -> Result<bool, EngineError> {
        let chunk = &pending.chunk;
        while let Some(scanned) = chunk.entries.get(pending.entry) {
            let place = match scanned.kind {
                ScannedKind::Entry(lane) => (scanned.route, lane),
                ScannedKind::Member(lane) => (self.unit_place(usize::from(scanned.route)), lane),
                ScannedKind::Refused => (self.unit_place(usize::from(scanned.route)), Lane::Standard),
                ScannedKind::Settled | ScannedKind::Filtered => {
                    if scanned.kind == ScannedKind::Filtered {
                        filtered[usize::from(scanned.route)].push(scanned.offset);
                        self.forget_suspect(usize::from(scanned.route), scanned.offset);
                    }
                    self.window.skip(scanned.route, scanned.offset);
                    pending.entry += 1;
                    self.end_of_unit(chunk, pending.entry, (&mut pending.unit, &mut pending.begun));
                    continue;
                }
            };
            let keys = &chunk.keys[pending.key..pending.key + scanned.keys()];
            let (writes, reads) = keys.split_at(usize::from(scanned.writes));
            let entry = Entry { offset: scanned.offset, route: place.0, lane: place.1, writes, reads };
            // A transaction goes in as a whole: once its first record has found room.
            let pushed = if pending.begun { self.window.push_beyond(&entry) } else { self.window.push(&entry) };
            let id = match pushed {
                Ok(id) => id,
                Err(PushError::Full { .. }) => return Ok(false),
                Err(error @ PushError::TooManyKeys { .. }) => {
                    let route = self.routes[usize::from(scanned.route)].route.spec.id.clone();
                    return Err(EngineError::Unreadable { route, cause: error.to_string() });
                }
            };
            match scanned.kind {
                ScannedKind::Member(_) => self.member_pushed(id, scanned, writes),
                _ if !self.suspects.is_empty() => self.suspects.enter(scanned.route, scanned.offset, writes),
                _ => {}
            }
            pending.begun = chunk.units.get(pending.unit).is_some_and(|unit| unit.from <= pending.entry);
            pending.entry += 1;
            pending.key += scanned.keys();
            self.end_of_unit(chunk, pending.entry, (&mut pending.unit, &mut pending.begun));
        }
        Ok(true)
    }

    /// Completes the transaction whose last record was handled just now, if one was.
    fn end_of_unit(&mut self, chunk: &Chunk, next: usize, (unit, begun): (&mut usize, &mut bool)) {
        if let Some(span) = chunk.units.get(*unit)
            && span.to <= next
        {
            self.unit_pushed(span.tx.clone());
            (*unit, *begun) = (*unit + 1, false);
        }
    }

    fn settle_filtered(&mut self, route: usize, offsets: Vec<Offset>) {
        let (Some(highest), count) = (offsets.last().copied(), offsets.len() as u64) else { return };
        let rows = SettledRows {
            outcome: Outcome::Filtered,
            offsets: OffsetRange::pack(offsets),
            target_ids: Vec::new(),
            by: None,
            code: None,
        };
        let settlement = self.settlement(route, None, vec![rows]);
        let release = Release { route, highest, counts: vec![(Outcome::Filtered, count)], ..Release::default() };
        self.order(release, vec![settlement], false);
    }
}
