//! Settlements ordered, and what is released once they are accepted.

use super::group::{Event, Group};
use crate::settle::Settled;
use crate::window::EntryId;
use model::{BatchId, Offset, Outcome, SettledRows, Settlement};

/// What happens when a settlement is accepted (or durable, where that was asked for).
#[derive(Debug, Default)]
pub(super) struct Release {
    pub route: usize,
    /// Entries to be settled in the window: of a chain in order.
    pub ids: Vec<EntryId>,
    /// The highest offset that the settlement, or the batch that it closes, speaks of.
    pub highest: Offset,
    pub counts: Vec<(Outcome, u64)>,
    /// The same of other routes, for what is settled together.
    pub others: Vec<Release>,
    /// Which order it waits for.
    pub order: u64,
}

impl Group {
    /// Makes a settlement of a route's rows.
    pub(super) fn settlement(&self, route: usize, batch: Option<BatchId>, rows: Vec<SettledRows>) -> Settlement {
        let spec = &self.routes[route].route.spec;
        Settlement {
            route: spec.id.clone(),
            stream: spec.stream.stream.clone(),
            partition: spec.stream.partition,
            batch,
            at_ms: self.shared.now_ms(),
            attempts: 0,
            read_back: false,
            calls: 0,
            rows,
        }
    }

    /// Orders settlements and releases when they are accepted; with `durable`, when they are durable.
    pub(super) fn order(&mut self, mut release: Release, settlements: Vec<Settlement>, durable: bool) {
        settlements.iter().for_each(|settlement| self.shared.writes.note(settlement));
        release.order = self.persist.ordered(self.settlements_end);
        let settled = self.shared.settler.order(settlements, durable);
        self.answers.push(Box::pin(async move { Event::Released { release, settled: settled.await.ok() } }));
    }

    pub(super) fn release(&mut self, mut release: Release, settled: Settled) {
        for other in std::mem::take(&mut release.others) {
            self.release(other, settled);
        }
        self.persist.orders.remove(&release.order);
        for id in &release.ids {
            self.window.settle(*id);
            self.histories.forget(*id);
        }
        let run = &mut self.routes[release.route];
        run.ledger.add(release.highest, settled.first);
        for (outcome, count) in release.counts {
            run.status.count(outcome, count);
            self.persist.settled += count;
        }
        self.settlements_end = self.settlements_end.max(settled.end);
        self.persist.touch();
    }
}
