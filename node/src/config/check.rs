//! Rules over several settings.

use super::layers::{ConfigError, Configuration, Source};

/// Checks what no setting can say alone.
///
/// # Errors
/// The first rule that is broken, as a line on the setting that breaks it.
pub(crate) fn check(configuration: &Configuration) -> Result<(), ConfigError> {
    let settings = &configuration.settings;
    if settings.listen.is_empty() {
        return Err(configuration.refuse("listen", "names no address", None));
    }
    let mut sorted = settings.listen.clone();
    sorted.sort_unstable();
    if sorted
        .windows(2)
        .any(|pair| pair.first() == pair.last() && pair.first().is_some_and(|a| a.port() != 0))
    {
        return Err(configuration.refuse("listen", "names an address twice", None));
    }
    if !settings.loopback_only() && !settings.has_secrets() {
        return Err(configuration.refuse(
            "listen",
            "an address that is not loopback needs configured secrets",
            Some("127.0.0.1 and [::1], or any address once JWT_SECRET or JWT_PRIVATE_KEY_FILE is set"),
        ));
    }
    let last_port = settings.media_port.get() + settings.media_workers.get() - 1;
    if settings.media_port.get() != 0 && last_port > 65_535 {
        let reason = format!(
            "{} workers would need ports up to {last_port}",
            settings.media_workers.get()
        );
        return Err(configuration.refuse("media_port", reason, None));
    }
    match (settings.turn_urls.is_empty(), &settings.turn_secret) {
        (false, None) => {
            let reason = "CASIDE_TURN_SECRET is missing; servers with fixed credentials belong into CASIDE_ICE_SERVERS";
            return Err(configuration.refuse("turn_urls", reason, None));
        }
        (true, Some(_)) => {
            return Err(configuration.refuse("turn_secret", "is of no use without CASIDE_TURN_URLS", None));
        }
        _ => {}
    }
    if settings.s3_endpoint.is_some() && settings.s3_bucket.is_none() {
        return Err(configuration.refuse("s3_endpoint", "is of no use without S3_BUCKET", None));
    }
    if settings.write_timeout.0.as_secs() < 1 {
        return Err(configuration.refuse("write_timeout", "too short", None));
    }
    if settings.aws_session_token.is_some() && settings.aws_access_key_id.is_none() {
        return Err(configuration.refuse("aws_session_token", "AWS_ACCESS_KEY_ID is missing", None));
    }
    match (&settings.aws_access_key_id, &settings.aws_secret_access_key) {
        (Some(_), None) if configuration.source("aws_access_key_id") != Source::Default => {
            Err(configuration.refuse("aws_access_key_id", "AWS_SECRET_ACCESS_KEY is missing", None))
        }
        (None, Some(_)) => Err(configuration.refuse("aws_secret_access_key", "AWS_ACCESS_KEY_ID is missing", None)),
        _ => Ok(()),
    }
}
