//! What is settled and what is not, as positions: checkpoints and ranges.

use super::api::EntryId;
use super::chunk::state;
use super::queue::{LaneQueue, Link};
use super::{LANES, Window};
use model::{Lane, Offset, OffsetRange};

/// Neighbouring entries of one lane that are all settled, or one that is not.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    settled: bool,
}

impl Window {
    /// The offset of an unsettled entry.
    ///
    /// # Panics
    /// When it is settled.
    pub fn offset(&self, id: EntryId) -> Offset {
        self.expect_unsettled(id);
        Offset(self.chunks[id.place.chunk()].offset(id.place.slot()))
    }

    /// The lowest unsettled offset of a route; the cursor when it has none.
    ///
    /// Takes `&mut` because it remembers where it looked: each entry is passed once.
    pub fn checkpoint(&mut self, route: u16) -> Offset {
        let queues = Lane::ALL.map(|lane| self.queue_index(route, lane));
        let lowest = queues.into_iter().filter_map(|queue| self.lowest_of_queue(queue)).min();
        let checkpoint = lowest.unwrap_or(self.cursor);
        queues.into_iter().for_each(|queue| self.queues[queue].trim(checkpoint));
        Offset(checkpoint)
    }

    fn lowest_of_queue(&mut self, queue: usize) -> Option<u64> {
        if self.queues[queue].counts.unsettled() == 0 {
            return None;
        }
        self.queues[queue].links.iter().find_map(|link| {
            let Link::Chunk(index) = link else { return None };
            let chunk = &mut self.chunks[*index as usize];
            let slot = if chunk.live > 0 { chunk.first_live() } else { None }?;
            Some(chunk.offset(slot))
        })
    }

    /// Ranges of `[checkpoint, cursor)` in which every record of this route is settled: what a checkpoint must name besides its
    /// offset. Ascending, disjoint, each holding at least one settled record; records of other tables may lie inside.
    ///
    /// Costs a look at every entry from the checkpoint on.
    pub fn settled_above(&self, route: u16) -> Vec<OffsetRange> {
        let first = usize::from(route) * LANES;
        let mut lanes: Vec<_> = self.queues[first..first + LANES].iter().map(|q| self.runs(q).peekable()).collect();
        let mut ranges = Vec::new();
        // The offset after the last unsettled one, and the last offset that is known to be settled.
        let (mut gap_from, mut settled_to) = (None, None);
        let mut close = |from: Option<u64>, to: u64, settled_to: Option<u64>| {
            if let (Some(from), Some(settled_to)) = (from, settled_to)
                && settled_to >= from
                && to > from
            {
                ranges.push(OffsetRange { from: Offset(from), to: Offset(to) });
            }
        };
        loop {
            let lowest = lanes.iter_mut().enumerate().filter_map(|(at, runs)| Some((runs.peek()?.first, at))).min();
            let Some((_, lane)) = lowest else { break };
            let Some(run) = lanes[lane].next() else { break };
            if run.settled {
                settled_to = settled_to.max(Some(run.last));
            } else {
                close(gap_from, run.first, settled_to);
                gap_from = Some(run.first + 1);
            }
        }
        close(gap_from, self.cursor, settled_to);
        ranges
    }

    fn runs<'a>(&'a self, queue: &'a LaneQueue) -> impl Iterator<Item = Run> + 'a {
        queue.links.iter().flat_map(move |link| {
            let (chunk, settled) = match *link {
                Link::Chunk(index) => (Some(&self.chunks[index as usize]), None),
                Link::Settled { first, last } => (None, Some(Run { first, last, settled: true })),
            };
            let entries = chunk.into_iter().flat_map(|chunk| {
                (0..chunk.len).map(move |slot| {
                    let offset = chunk.offset(slot);
                    Run { first: offset, last: offset, settled: chunk.state(slot) == state::SETTLED }
                })
            });
            settled.into_iter().chain(entries)
        })
    }
}
