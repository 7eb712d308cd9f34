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
    check_tls(configuration)?;
    check_cluster(configuration)?;
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

/// Certificate and key come together. Whether the files can be used is found out by whoever uses them.
fn check_tls(configuration: &Configuration) -> Result<(), ConfigError> {
    let settings = &configuration.settings;
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(_), None) => Err(configuration.refuse("tls_key", "is missing beside CASIDE_TLS_CERT", None)),
        (None, Some(_)) => Err(configuration.refuse("tls_cert", "is missing beside CASIDE_TLS_KEY", None)),
        _ => Ok(()),
    }
}

/// What a node among others needs that one alone does not.
fn check_cluster(configuration: &Configuration) -> Result<(), ConfigError> {
    let settings = &configuration.settings;
    let files = [&settings.cluster_cert, &settings.cluster_key, &settings.cluster_ca];
    if files.iter().any(|file| file.is_some()) && !files.iter().all(|file| file.is_some()) {
        let missing = ["cluster_cert", "cluster_key", "cluster_ca"]
            .into_iter()
            .zip(files)
            .find(|(_, file)| file.is_none());
        let name = missing.map_or("cluster_cert", |(name, _)| name);
        return Err(configuration.refuse(
            name,
            "is missing beside the other two of certificate, key and authority",
            None,
        ));
    }
    let lease = settings.cluster_lease.0.as_secs();
    if !(1..=60).contains(&lease) {
        return Err(configuration.refuse("cluster_lease", "out of range", None));
    }
    let Some(_) = &settings.redis_url else {
        return Ok(());
    };
    if settings.cluster_cookie.is_none() {
        return Err(configuration.refuse("cluster_cookie", "is missing beside REDIS_URL", None));
    }
    if !settings.has_secrets() {
        let reason = "nodes need the same keys for tokens: set JWT_SECRET or JWT_PRIVATE_KEY_FILE";
        return Err(configuration.refuse("redis_url", reason, None));
    }
    if settings.database_url().starts_with("sqlite:") {
        let reason = "nodes share a database: DATABASE_URL must be postgres://…";
        return Err(configuration.refuse("redis_url", reason, None));
    }
    if settings.cluster_listen.ip().is_unspecified() && settings.cluster_advertise.is_none() {
        let reason =
            "is every address of this machine: say by CASIDE_CLUSTER_ADVERTISE which one other nodes are to use";
        return Err(configuration.refuse("cluster_listen", reason, None));
    }
    Ok(())
}
