//! Keyset pagination, newest first.

use caside_protocol::rest::Page;
use uuid::Uuid;

use crate::StoreError;

/// Most items on a page.
pub const MAX_LIMIT: u64 = 200;
/// Items on a page when nothing is asked.
pub const DEFAULT_LIMIT: u64 = 50;

/// Which page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: u64,
    cursor: Option<String>,
}

impl PageRequest {
    /// Asks for `limit` items (clamped to 1–[`MAX_LIMIT`], [`DEFAULT_LIMIT`] when `None`) after `cursor`, the
    /// `next_cursor` of the page before. A cursor that is not of this list is [`StoreError::Cursor`] in the query.
    pub fn new(limit: Option<u64>, cursor: Option<String>) -> Self {
        Self {
            limit: limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
            cursor,
        }
    }

    /// Most items on this page.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The key after which this page begins, in the list of this `tag`.
    pub(crate) fn after(&self, tag: char) -> Result<Option<Uuid>, StoreError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let key = cursor.strip_prefix(tag).ok_or(StoreError::Cursor)?;
        Uuid::try_parse(key).map(Some).map_err(|_| StoreError::Cursor)
    }

    /// How many rows to ask for: one more than the page, to see whether another follows.
    pub(crate) fn fetch(&self) -> u64 {
        self.limit + 1
    }

    /// Makes a page of the rows fetched.
    pub(crate) fn page<R, T>(
        &self,
        tag: char,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> Uuid,
        item: impl FnMut(R) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| format!("{tag}{}", key(last).simple()));
        Ok(Page {
            items: rows.into_iter().map(item).collect::<Result<_, _>>()?,
            next_cursor,
        })
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self::new(None, None)
    }
}
