//! Which bytes of a file are asked for (RFC 9110 §14).

use hyper::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes; the end is not among them.
    Part(std::ops::Range<u64>),
    /// Bytes that it does not have.
    Nothing,
}

/// What a request asks of a file of `size` bytes with this strong tag. What is not understood, several ranges among it,
/// is answered with the whole, as RFC 9110 §14.2 permits.
pub(crate) fn wanted(headers: &HeaderMap, size: u64, etag: &HeaderValue) -> Wanted {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Wanted::Whole;
    };
    // Of another version, a part would not fit to what the client has (§13.1.5). Dates are not compared: files do
    // not change, and their tag says so better.
    if headers.get(IF_RANGE).is_some_and(|version| version != etag) {
        return Wanted::Whole;
    }
    let Some(spec) = range.strip_prefix("bytes=") else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim().is_empty(), last.trim().is_empty()) {
        (true, true) => Wanted::Whole,
        // The last `n` bytes.
        (true, false) => match number(last) {
            Ok(0) => Wanted::Nothing,
            Ok(_) if size == 0 => Wanted::Nothing,
            Ok(n) => Wanted::Part(size.saturating_sub(n)..size),
            Err(_) => Wanted::Whole,
        },
        (false, open) => {
            let end = if open { Ok(u64::MAX) } else { number(last) };
            match (number(first), end) {
                (Ok(first), Ok(last)) if first > last => Wanted::Whole,
                (Ok(first), Ok(_)) if first >= size => Wanted::Nothing,
                (Ok(first), Ok(last)) => Wanted::Part(first..last.saturating_add(1).min(size)),
                _ => Wanted::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let etag = HeaderValue::from_static("\"v1\"");
        for (range, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-99", Wanted::Part(0..10)),
            ("bytes=4-", Wanted::Part(4..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=9-9", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-4", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=0-18446744073709551615", Wanted::Part(0..10)),
            ("bytes=99999999999999999999-", Wanted::Whole),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            assert_eq!(wanted(&headers, 10, &etag), want, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10, &etag), Wanted::Whole);
    }

    #[test]
    fn a_part_of_another_version_is_not_sent() {
        let etag = HeaderValue::from_static("\"v1\"");
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-4"));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"v1\""));
        assert_eq!(wanted(&headers, 10, &etag), Wanted::Part(0..5));
        headers.insert(IF_RANGE, HeaderValue::from_static("\"v0\""));
        assert_eq!(wanted(&headers, 10, &etag), Wanted::Whole);
    }
}
