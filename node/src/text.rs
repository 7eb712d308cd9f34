//! Text from outside that others will see and the database will keep.

use caside_protocol::ErrorCode;
use caside_protocol::error::Refusal;
use serde_json::Value;

/// Checks one line of text, as names are.
///
/// # Errors
/// `invalid_payload` names `field` when the text has control characters: they have no place in a name, can forge lines
/// where it is printed, and PostgreSQL keeps no NUL.
pub(crate) fn printable(field: &str, text: &str) -> Result<(), Refusal> {
    if text.chars().any(char::is_control) {
        let why = format!("{field}: must not have control characters");
        return Err(Refusal::new(ErrorCode::InvalidPayload, why));
    }
    Ok(())
}

/// Checks an application's own data, which may have lines.
///
/// # Errors
/// `invalid_payload` names `field` when a text or name in it has a NUL, which PostgreSQL keeps in no JSON.
pub(crate) fn without_nul(field: &str, value: &Value) -> Result<(), Refusal> {
    if has_nul(value) {
        let why = format!("{field}: must not have NUL characters (\\u0000)");
        return Err(Refusal::new(ErrorCode::InvalidPayload, why));
    }
    Ok(())
}

/// Not deeper than JSON is read, which is 128 levels.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_have_no_control_characters_and_data_no_nul() {
        assert!(printable("name", "Zoë 🦀").is_ok());
        for bad in ["a\0", "a\nb", "\u{7f}", "\u{85}"] {
            let refusal = printable("name", bad).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidPayload, "{bad:?}");
            assert!(refusal.message.starts_with("name: "));
        }
        assert!(without_nul("metadata", &json!({"a": ["two\nlines", 1, null]})).is_ok());
        for bad in [json!("\0"), json!({"a": [{"b": "x\0"}]}), json!({"\0": 1})] {
            assert!(without_nul("metadata", &bad).is_err(), "{bad}");
        }
    }
}
