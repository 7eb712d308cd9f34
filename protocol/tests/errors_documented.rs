//! `docs/errors.md` has a paragraph on each code, under the status that goes with it.

use caside_protocol::ErrorCode;

const PAGE: &str = include_str!("../../docs/errors.md");

/// Each code's heading, with the status heading above it and whether its paragraph is marked as retryable.
fn documented() -> Vec<(&'static str, &'static str, bool)> {
    let mut statuses = "";
    let mut codes = Vec::new();
    for section in PAGE.split("\n#").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        if let Some(code) = heading.strip_prefix("## `").and_then(|rest| rest.strip_suffix('`')) {
            assert!(!body.trim().is_empty(), "{code} has a heading and no paragraph");
            codes.push((code, statuses, body.starts_with('↻')));
        } else {
            statuses = heading;
        }
    }
    codes
}

#[test]
fn every_code_has_its_paragraph_and_every_paragraph_its_code() {
    let mut documented: Vec<&str> = documented().into_iter().map(|(code, ..)| code).collect();
    let mut codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    documented.sort_unstable();
    codes.sort_unstable();
    assert_eq!(documented, codes);
}

#[test]
fn the_page_agrees_with_the_code_on_status_and_retries() {
    for (name, statuses, retryable) in documented() {
        let code = *ErrorCode::ALL.iter().find(|code| code.as_str() == name).unwrap();
        assert!(
            statuses.contains(&code.http_status().to_string()),
            "{name} is not a {statuses}"
        );
        assert_eq!(retryable, code.retryable(), "{name}: whether it may succeed later");
    }
}
