//! RTP header extensions (RFC 8285).

#![warn(clippy::indexing_slicing, clippy::cast_possible_truncation)]

/// The profile of one-byte elements (RFC 8285 §4.2).
pub const ONE_BYTE: u16 = 0xbede;

/// The profile of two-byte elements; its low 4 bits are free (RFC 8285 §4.3).
pub const TWO_BYTE: u16 = 0x1000;

/// The elements of a header extension: each id with its data.
#[derive(Debug, Clone)]
pub struct Extensions<'p> {
    two_byte: bool,
    rest: &'p [u8],
}

impl<'p> Extensions<'p> {
    /// Elements of `bytes` in the form that `profile` names; nothing for other profiles.
    pub fn new(profile: u16, bytes: &'p [u8]) -> Self {
        let two_byte = profile & 0xfff0 == TWO_BYTE;
        let rest = if two_byte || profile == ONE_BYTE { bytes } else { &[] };
        Self { two_byte, rest }
    }

    /// Takes an element; `None` ends the extension.
    fn take(&mut self, id: u8, header_len: usize, len: usize) -> Option<(u8, &'p [u8])> {
        let data = self.rest.get(header_len..header_len + len)?;
        self.rest = self.rest.get(header_len + len..)?;
        Some((id, data))
    }
}

impl<'p> Iterator for Extensions<'p> {
    type Item = (u8, &'p [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = *self.rest.first()?;
            if first == 0 {
                self.rest = self.rest.get(1..)?;
                continue;
            }
            let element = if self.two_byte {
                let len = usize::from(*self.rest.get(1)?);
                self.take(first, 2, len)
            } else {
                let (id, len) = (first >> 4, usize::from(first & 0x0f) + 1);
                // Id 15, and id 0 with a length, end the processing (RFC 8285 §4.2).
                if id == 0 || id == 15 {
                    None
                } else {
                    self.take(id, 1, len)
                }
            };
            if element.is_none() {
                self.rest = &[];
            }
            return element;
        }
    }
}

/// The data of the first element with this id.
pub fn find_extension<'p>(extensions: &Extensions<'p>, id: Option<u8>) -> Option<&'p [u8]> {
    let id = id?;
    extensions.clone().find(|(found, _)| *found == id).map(|(_, data)| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(profile: u16, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Extensions::new(profile, bytes)
            .map(|(id, data)| (id, data.to_vec()))
            .collect()
    }

    #[test]
    fn one_byte_elements() {
        let bytes = [0x10, 0xaa, 0, 0x32, 1, 2, 3, 0];
        assert_eq!(all(ONE_BYTE, &bytes), [(1, vec![0xaa]), (3, vec![1, 2, 3])]);
    }

    #[test]
    fn id_15_ends_a_one_byte_extension() {
        assert_eq!(all(ONE_BYTE, &[0x10, 0xaa, 0xf0, 1, 0x20, 2]), [(1, vec![0xaa])]);
    }

    #[test]
    fn id_0_with_a_length_ends_a_one_byte_extension() {
        assert_eq!(all(ONE_BYTE, &[0x10, 0xaa, 0x02, 1, 2, 3, 0x20, 2]), [(1, vec![0xaa])]);
    }

    #[test]
    fn two_byte_elements_may_be_empty_and_long() {
        let mut bytes = vec![1, 0, 0, 15, 1, 9, 200, 20];
        bytes.extend([7; 20]);
        for profile in [0x1000, 0x100f] {
            assert_eq!(all(profile, &bytes), [(1, vec![]), (15, vec![9]), (200, vec![7; 20])]);
        }
    }

    #[test]
    fn an_element_past_the_end_is_left_out() {
        assert_eq!(all(ONE_BYTE, &[0x10, 0xaa, 0x23, 1, 2]), [(1, vec![0xaa])]);
        assert_eq!(all(TWO_BYTE, &[1, 1, 0xaa, 2]), [(1, vec![0xaa])]);
    }

    #[test]
    fn other_profiles_have_no_elements() {
        assert_eq!(all(0x1234, &[0x10, 0xaa]), []);
    }

    #[test]
    fn finds_by_id() {
        let extensions = Extensions::new(ONE_BYTE, &[0x10, 0xaa, 0x20, 0xbb]);
        assert_eq!(find_extension(&extensions, Some(2)), Some(&[0xbb][..]));
        assert_eq!(find_extension(&extensions, Some(3)), None);
        assert_eq!(find_extension(&extensions, None), None);
    }
}
