//! From the reader's chunks into the window.

use super::error::EngineError;
use super::group::{Group, Pending};
use super::reader::ScannedKind;
use super::release::Release;
use crate::window::{Entry, PushError};
use model::{Offset, OffsetRange, Outcome, SettledRows};

impl Group {
    /// Pushes what the window takes of the chunk in hand. A full window keeps the rest for later, and so stops the reader.
    pub(super) fn absorb(&mut self) -> Result<(), EngineError> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
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
        self.ages.add(chunk.end, chunk.newest_ms);
        self.persist.touch();
        if let Some(route) = chunk.halted {
            let run = &mut self.routes[usize::from(route)];
            let error = format!(
                "PS5506: the table was truncated at offset {} and the route's `truncate` is `refuse`: nothing behind it is \
                 read; empty {} if it should be, then set `truncate: ignore` and restart",
                chunk.end, run.route.spec.object
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
            let lane = match scanned.kind {
                ScannedKind::Entry(lane) => lane,
                ScannedKind::Settled | ScannedKind::Filtered => {
                    if scanned.kind == ScannedKind::Filtered {
                        filtered[usize::from(scanned.route)].push(scanned.offset);
                        self.forget_suspect(usize::from(scanned.route), scanned.offset);
                    }
                    self.window.skip(scanned.route, scanned.offset);
                    pending.entry += 1;
                    continue;
                }
            };
            let (writes_end, reads_end) = {
                let writes_end = pending.key + usize::from(scanned.writes);
                (writes_end, writes_end + usize::from(scanned.reads))
            };
            let writes = &chunk.keys[pending.key..writes_end];
            let entry = Entry {
                offset: scanned.offset,
                route: scanned.route,
                lane,
                writes,
                reads: &chunk.keys[writes_end..reads_end],
            };
            match self.window.push(&entry) {
                Ok(_) => {}
                Err(PushError::Full { .. }) => return Ok(false),
                Err(error @ PushError::TooManyKeys { .. }) => {
                    let route = self.routes[usize::from(scanned.route)].route.spec.id.clone();
                    return Err(EngineError::Unreadable { route, cause: error.to_string() });
                }
            }
            if !self.suspects.is_empty() {
                self.suspects.enter(scanned.route, scanned.offset, writes);
            }
            pending.entry += 1;
            pending.key = reads_end;
        }
        Ok(true)
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
        let release = Release { route, ids: Vec::new(), highest, counts: vec![(Outcome::Filtered, count)] };
        self.order(release, vec![settlement], false);
    }
}
