//! SIGHUP: the listeners' certificate and the levels of the log, read again while everything runs on.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::key::KEYS;
use crate::config::layers::{Configuration, load};
use crate::config::{Settings, show};
use crate::http::tls::{self, Tls};
use crate::telemetry;

/// What is taken over; all else needs a restart.
const TAKEN: [&str; 4] = ["rust_log", "audit_log", "tls_cert", "tls_key"];

/// Listens for SIGHUP from now on, until it is aborted.
///
/// # Errors
/// When the system does not tell of signals.
pub(crate) fn start(mut running: Configuration, tls: Option<Tls>) -> anyhow::Result<JoinHandle<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            // Files are small, and on this machine; but a disk may be slow.
            let (now, tls) = (running.clone(), tls.clone());
            let read = tokio::task::spawn_blocking(move || again(now, tls.as_ref()));
            match read.await {
                Ok(next) => running = next,
                Err(e) => tracing::error!(error = %e, "the configuration could not be read again"),
            }
        }
    }))
}

/// Reads everything again and takes over what can be; what is in force then.
fn again(running: Configuration, tls: Option<&Tls>) -> Configuration {
    let mut next = match load(&running.from) {
        Ok(next) => next,
        Err(e) => {
            tracing::error!(error = %e, "SIGHUP: the configuration is wrong; the one before stays");
            // The files that it names may have changed all the same.
            certificate(&running.settings, tls);
            return running;
        }
    };
    let mut settings = running.settings.clone();
    settings.rust_log.clone_from(&next.settings.rust_log);
    settings.audit_log = next.settings.audit_log;
    if telemetry::reload(&settings) {
        tracing::info!(levels = %settings.rust_log, "SIGHUP: the levels of the log were read again");
    }
    if tls.is_some() == tls::files(&next.settings).is_some() {
        settings.tls_cert.clone_from(&next.settings.tls_cert);
        settings.tls_key.clone_from(&next.settings.tls_key);
    } else {
        tracing::warn!("SIGHUP: TLS is turned on and off by a restart only");
    }
    certificate(&settings, tls);
    let changed = changed(&settings, &next.settings);
    if !changed.is_empty() {
        tracing::warn!(
            settings = changed.join(", "),
            "SIGHUP: these have changed and need a restart"
        );
    }
    next.settings = settings;
    next
}

fn certificate(settings: &Settings, tls: Option<&Tls>) {
    let (Some(tls), Some((cert, key))) = (tls, tls::files(settings)) else {
        return;
    };
    match tls.reload(cert, key) {
        Ok(()) => {
            tracing::info!(path = %cert.display(), "SIGHUP: new connections are shown the certificate as it is now")
        }
        Err(e) => tracing::error!(error = %e, "SIGHUP: the certificate cannot be used; the one before stays"),
    }
}

/// The settings that differ and are not taken over. Secrets are compared, never shown.
fn changed(running: &Settings, next: &Settings) -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS
        .iter()
        .filter(|key| !TAKEN.contains(&key.name) && show::value(running, key) != show::value(next, key))
        .map(|key| key.name)
        .collect();
    let secrets = [
        ("jwt_secret", running.jwt_secret != next.jwt_secret),
        ("metrics_token", running.metrics_token != next.metrics_token),
        ("turn_secret", running.turn_secret != next.turn_secret),
        ("cluster_cookie", running.cluster_cookie != next.cluster_cookie),
        (
            "aws_secret_access_key",
            running.aws_secret_access_key != next.aws_secret_access_key,
        ),
        ("aws_session_token", running.aws_session_token != next.aws_session_token),
        ("database_url", running.database_url != next.database_url),
        ("redis_url", running.redis_url != next.redis_url),
    ];
    for (name, differs) in secrets {
        if differs && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_what_is_taken_over_is_not() {
        let before = Settings::default();
        let mut after = Settings::default();
        assert!(changed(&before, &after).is_empty());
        after.rust_log = "debug".parse().unwrap();
        after.audit_log = false;
        after.max_room_size = "7".parse().unwrap();
        after.metrics_token = Some("0123456789abcdef".parse().unwrap());
        assert_eq!(changed(&before, &after), ["metrics_token", "max_room_size"]);
    }
}
