//! Reading of elements of known size, checked: any bytes may come.
#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

use super::super::inspect::InspectError;

/// One element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    /// With its length marker.
    pub(crate) id: u32,
    /// Bytes of ID and size.
    pub(crate) header_len: usize,
    /// Its data.
    pub(crate) data: &'a [u8],
}

/// Elements one after another.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Those in `data`.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// [`InspectError::Torn`] if it is cut, [`InspectError::Format`] if its header is malformed or of unknown size.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, InspectError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let before = self.rest.len();
        let id = self.vint(4, true)?;
        let size = self.vint(8, false)?;
        let header_len = before - self.rest.len();
        let id = u32::try_from(id).map_err(|_| InspectError::Format("element ID"))?;
        let size = usize::try_from(size).map_err(|_| InspectError::Torn)?;
        let (data, rest) = self.rest.split_at_checked(size).ok_or(InspectError::Torn)?;
        self.rest = rest;
        Ok(Some(Element { id, header_len, data }))
    }

    /// The next one, which has to be `id`.
    pub(crate) fn expect(&mut self, id: u32, what: &'static str) -> Result<Element<'a>, InspectError> {
        self.next()?
            .filter(|element| element.id == id)
            .ok_or(InspectError::Format(what))
    }

    /// What was not read yet.
    pub(crate) fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// A variable-size integer (RFC 8794 §4) of at most `most` bytes, with its marker or without.
    fn vint(&mut self, most: usize, marked: bool) -> Result<u64, InspectError> {
        let first = *self.rest.first().ok_or(InspectError::Torn)?;
        // At most 8.
        let length = first.leading_zeros() as usize + 1;
        if length > most {
            return Err(InspectError::Format("length of a variable-size integer"));
        }
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(InspectError::Torn)?;
        self.rest = rest;
        let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let marker = 1u64 << (7 * length);
        if value == marker | (marker - 1) {
            return Err(InspectError::Format("unknown size"));
        }
        Ok(if marked { value } else { value ^ marker })
    }
}

impl<'a> Element<'a> {
    /// An unsigned integer of at most eight bytes.
    pub(crate) fn uint(&self) -> Result<u64, InspectError> {
        if self.data.len() > 8 {
            return Err(InspectError::Format("length of an integer"));
        }
        Ok(self.data.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A float of eight bytes.
    pub(crate) fn float(&self) -> Result<f64, InspectError> {
        let bytes: [u8; 8] = self
            .data
            .try_into()
            .map_err(|_| InspectError::Format("length of a float"))?;
        Ok(f64::from_be_bytes(bytes))
    }

    /// Text.
    pub(crate) fn text(&self) -> Result<&'a str, InspectError> {
        std::str::from_utf8(self.data).map_err(|_| InspectError::Format("text"))
    }

    /// Its children.
    pub(crate) fn children(&self) -> Elements<'a> {
        Elements::new(self.data)
    }
}
