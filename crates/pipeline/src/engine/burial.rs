//! From a row that never will be applied to its dead letter, and its settlement.

use super::error::EngineError;
use super::group::{Event, Group};
use super::job::JobRow;
use super::release::Release;
use crate::dlq::{Burial, Buried, bury};
use crate::window::EntryId;
use contract::RowError;
use model::{OffsetRange, Outcome, Retry, SettledRows};

impl Group {
    /// Sends rows to the dead letters; they stay in flight until that is durable.
    pub(super) fn bury_rows(&mut self, index: usize, mut dead: Vec<(JobRow, RowError)>) {
        if dead.is_empty() {
            return;
        }
        dead.sort_by_key(|(row, _)| row.offset);
        let rows = dead.iter().map(|(row, _)| (row.id, self.histories.get(row.id).sent)).collect();
        let highest = dead.last().map(|(row, _)| row.offset).unwrap_or_default();
        let burials: Vec<Burial> = dead
            .into_iter()
            .map(|(row, error)| Burial { offset: row.offset, error, attempts: self.histories.get(row.id).sent })
            .collect();
        let spec = &self.routes[index].route.spec;
        let (route, stream, secret) = (spec.id.clone(), spec.stream.clone(), spec.secret.clone());
        tracing::warn!(%route, records = burials.len(), code = %burials[0].error.code, "records become dead letters");
        let shared = self.shared.clone();
        let stored = Release { route: index, highest, ..Release::default() };
        self.jobs.spawn(async move {
            let buried = loop {
                let log = &*shared.carrier.log;
                let tried = bury(log, &*shared.state, (&route, &stream, &secret), &burials, shared.now_ms()).await;
                match tried {
                    Err(error) if let Retry::After(delay) = error.retry() => {
                        tracing::warn!(code = %error.code(), %error, "dead letters wait");
                        tokio::time::sleep(delay).await;
                    }
                    buried => break buried,
                }
            };
            Event::Buried { route: index, rows, buried, stored }
        });
    }

    /// Settles what is buried; durably, since what was released by a lost settlement of a dead letter could not be told from an
    /// applied row.
    pub(super) fn buried(
        &mut self,
        index: usize,
        rows: Vec<(EntryId, u32)>,
        buried: Result<Vec<Buried>, EngineError>,
        mut stored: Release,
    ) -> Result<(), EngineError> {
        let buried = buried?;
        stored.counts.push((Outcome::DeadLettered, buried.len() as u64));
        stored.ids = rows.iter().map(|(id, _)| *id).collect();
        let mut settlements = Vec::new();
        for Buried { offset, code } in buried {
            let row = SettledRows {
                outcome: Outcome::DeadLettered,
                offsets: OffsetRange::pack([offset]),
                target_ids: Vec::new(),
                by: None,
                code: Some(code),
            };
            settlements.push(row);
        }
        let mut settlement = self.settlement(index, None, settlements);
        settlement.attempts = rows.iter().map(|(_, sent)| *sent).max().unwrap_or_default();
        self.shared.carrier.crash.reach(contract::CrashPoint::BeforeSettle);
        self.order(stored, vec![settlement], true);
        Ok(())
    }
}
