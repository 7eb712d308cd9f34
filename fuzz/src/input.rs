//! Pieces of inputs. The standard ones make lists of two on the average, and give one payload half of what is left; these make
//! long sequences of short payloads.

use std::ops::Deref;

use arbitrary::{Arbitrary, Result, Unstructured};

/// As many as there is input for.
#[derive(Debug)]
pub struct Sequence<T>(Vec<T>);

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Sequence<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut items = Vec::new();
        while !u.is_empty() {
            items.push(u.arbitrary()?);
        }
        Ok(Self(items))
    }
}

impl<T> Deref for Sequence<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// Some bytes: mostly few, at most 1200.
#[derive(Debug, Clone, Copy)]
pub struct Blob<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Blob<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let length = match u.arbitrary::<u8>()? {
            short @ 0..=199 => usize::from(short) % 40,
            middle @ 200..=247 => usize::from(middle) - 200 + 40,
            long => 150 * (usize::from(long) - 247),
        };
        Ok(Self(u.bytes(length.min(u.len()))?))
    }
}

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

/// Text of as many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(&'a str);

impl<'a> Arbitrary<'a> for Text<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let Blob(bytes) = u.arbitrary()?;
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        Ok(Self(valid))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}
