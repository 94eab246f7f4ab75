//! Queries whose later pages may still be asked for.

use super::bind::Tree;
use crate::ids::SfId;
use hashbrown::HashMap;
use std::sync::Arc;

/// How long a locator lives.
pub const LOCATOR_MS: i64 = 2 * 86_400_000;

/// Rows that all locators together may keep in mind; the oldest locator makes room.
const LOCATOR_ROWS_MAX: usize = 8_000_000;

/// The rows of a query and how they are shown.
pub struct Cursor {
    pub slots: Vec<u32>,
    pub tree: Arc<Tree>,
    /// Whether children in the recycle bin are shown too.
    pub deleted: bool,
    pub version: u32,
    /// Rows of a page.
    pub page: usize,
    pub ends_ms: i64,
}

/// The cursors of an org.
#[derive(Default)]
pub struct Cursors {
    next: u64,
    rows: usize,
    open: HashMap<u64, Arc<Cursor>>,
}

impl Cursors {
    /// Keeps a cursor and returns its number.
    pub fn add(&mut self, cursor: Arc<Cursor>, now_ms: i64) -> u64 {
        let rows = &mut self.rows;
        self.open.retain(|_, cursor| {
            let lives = cursor.ends_ms > now_ms;
            *rows -= if lives { 0 } else { cursor.slots.len() };
            lives
        });
        while self.rows + cursor.slots.len() > LOCATOR_ROWS_MAX {
            let Some(oldest) = self.open.keys().min().copied() else { break };
            self.rows -= self.open.remove(&oldest).map_or(0, |cursor| cursor.slots.len());
        }
        self.next += 1;
        self.rows += cursor.slots.len();
        self.open.insert(self.next, cursor);
        self.next
    }

    /// Finds the cursor of `01g…-2000` with its number and the offset, if it still lives.
    pub fn find(&self, locator: &str, now_ms: i64) -> Option<(Arc<Cursor>, u64, usize)> {
        let (id, offset) = locator.split_once('-')?;
        let number = SfId::parse(id).filter(|id| id.prefix() == *b"01g")?.number()?;
        let offset = offset.parse::<usize>().ok()?;
        let cursor = self.open.get(&number)?;
        (cursor.ends_ms > now_ms && offset < cursor.slots.len()).then(|| (Arc::clone(cursor), number, offset))
    }
}
