//! How each setting is named, and what is allowed there.

/// One setting's names and rule.
#[derive(Debug)]
pub(crate) struct Key {
    /// In `caside.toml`; the field of [`super::Settings`].
    pub(crate) name: &'static str,
    /// In the environment and in `.env`.
    pub(crate) variable: &'static str,
    /// Whether it must not be shown; such a setting has no flag, for flags can be seen by every user of a machine.
    pub(crate) secret: bool,
    /// What a value may be, as a phrase that ends an error line.
    pub(crate) allowed: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
}

impl Key {
    /// Its flag, without the dashes; secrets have none.
    pub(crate) fn flag(&self) -> Option<String> {
        (!self.secret).then(|| self.name.replace('_', "-"))
    }
}

const fn key(name: &'static str, variable: &'static str, allowed: &'static str, purpose: &'static str) -> Key {
    Key {
        name,
        variable,
        secret: false,
        allowed,
        purpose,
    }
}

const fn secret(name: &'static str, variable: &'static str, allowed: &'static str, purpose: &'static str) -> Key {
    Key {
        name,
        variable,
        secret: true,
        allowed,
        purpose,
    }
}

/// Every setting, in the order in which it is shown.
pub(crate) const KEYS: &[Key] = &[
    key(
        "listen",
        "CASIDE_LISTEN",
        "one or more of address:port, separated by commas",
        "addresses for HTTP and WebSocket",
    ),
    key(
        "data_dir",
        "CASIDE_DATA_DIR",
        "a path",
        "database, keys, recordings and spool, unless configured to be elsewhere",
    ),
    key(
        "node_id",
        "CASIDE_NODE_ID",
        "1 to 128 of A-Z a-z 0-9 . _ : -",
        "this node's name",
    ),
    key(
        "media_port",
        "CASIDE_MEDIA_PORT",
        "0 to 65535",
        "first port for media, UDP and TCP, one a worker counted up from it; 0: any ports",
    ),
    key(
        "media_ip",
        "CASIDE_MEDIA_IP",
        "IP addresses, or public/private pairs of them, separated by commas",
        "addresses to offer for media, and to bind unless they lead here by NAT; empty: those of the interfaces",
    ),
    key(
        "media_protocols",
        "CASIDE_MEDIA_PROTOCOLS",
        "udp+tcp, udp or tcp",
        "what media travels by; TCP is for clients whom UDP does not reach",
    ),
    key(
        "media_workers",
        "CASIDE_MEDIA_WORKERS",
        "1 to 256",
        "threads that carry media",
    ),
    key(
        "media_worker_participants",
        "CASIDE_MEDIA_WORKER_PARTICIPANTS",
        "1 to 1000000",
        "participants on one of them; more are placed on others, also of the same room, and refused when all are full",
    ),
    key(
        "tls_cert",
        "CASIDE_TLS_CERT",
        "path of a PEM file, together with CASIDE_TLS_KEY",
        "certificates for the listeners, the server's own first: HTTPS and secure WebSockets on all of them",
    ),
    key("tls_key", "CASIDE_TLS_KEY", "path of a PEM file", "their key"),
    key(
        "max_connections",
        "CASIDE_MAX_CONNECTIONS",
        "1 to 1000000",
        "WebSockets at a time; more are refused",
    ),
    key(
        "max_connections_per_address",
        "CASIDE_MAX_CONNECTIONS_PER_ADDRESS",
        "1 to 4096",
        "HTTP connections of one address at a time, and as many of its WebSockets that have no token yet",
    ),
    key(
        "request_rate",
        "CASIDE_REQUEST_RATE",
        "1 to 1000000",
        "HTTP requests a second of one address, and of one user; four times as many at once",
    ),
    key(
        "user_message_rate",
        "CASIDE_USER_MESSAGE_RATE",
        "1 to 1000000",
        "messages a second of one user over all of their sockets; four times as many at once",
    ),
    key(
        "write_timeout",
        "CASIDE_WRITE_TIMEOUT",
        "1s to 7d, like 10s or 2m",
        "how long a client may take nothing of an answer before it is cut off",
    ),
    key(
        "trusted_proxies",
        "CASIDE_TRUSTED_PROXIES",
        "addresses or networks like 10.0.0.0/8, separated by commas",
        "proxies whose X-Forwarded-For or Forwarded says who the client is; those on this machine always are",
    ),
    secret(
        "metrics_token",
        "CASIDE_METRICS_TOKEN",
        "at least 16 bytes",
        "bearer token that may read /metrics and nothing else",
    ),
    key(
        "max_room_size",
        "CASIDE_MAX_ROOM_SIZE",
        "1 to 10000",
        "participants in a room that sets no limit of its own",
    ),
    key(
        "max_rooms",
        "CASIDE_MAX_ROOMS",
        "1 to 1000000",
        "rooms that run on this node at a time",
    ),
    key(
        "max_rooms_per_user",
        "CASIDE_MAX_ROOMS_PER_USER",
        "1 to 1000000",
        "rooms that one user may own before POST /rooms is refused; admins and API keys may have more",
    ),
    key(
        "auto_create_rooms",
        "CASIDE_AUTO_CREATE_ROOMS",
        "true or false",
        "whether joining an unknown room makes it",
    ),
    key(
        "audio_red",
        "CASIDE_AUDIO_RED",
        "true or false",
        "whether clients are asked to send sound with the packet before again (RED), for twice its bits",
    ),
    key(
        "cors_origins",
        "CASIDE_CORS_ORIGINS",
        "origins like https://app.example, separated by commas",
        "other origins whose pages may use the API and the WebSocket",
    ),
    key(
        "ice_servers",
        "CASIDE_ICE_SERVERS",
        "stun: URLs separated by commas, or a JSON list of {urls, username, credential}",
        "STUN and TURN servers that clients are told of",
    ),
    key(
        "turn_urls",
        "CASIDE_TURN_URLS",
        "turn: and turns: URLs, separated by commas",
        "TURN servers that share turn_secret: clients get credentials that run out",
    ),
    secret(
        "turn_secret",
        "CASIDE_TURN_SECRET",
        "at least 16 bytes; coturn's static-auth-secret",
        "makes credentials for turn_urls",
    ),
    key(
        "spool_max",
        "CASIDE_SPOOL_MAX",
        "a size of at least 1 byte, like 512MiB or 10GiB",
        "recorded media that may wait on the disk",
    ),
    key(
        "drain_timeout",
        "CASIDE_DRAIN_TIMEOUT",
        "0s to 7d, like 500ms, 30s or 5m",
        "how long a graceful stop may take",
    ),
    key(
        "database_url",
        "DATABASE_URL",
        "sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE",
        "where the database is; left out: SQLite in the data directory",
    ),
    key(
        "database_wait",
        "CASIDE_DATABASE_WAIT",
        "0s to 7d, like 500ms, 30s or 5m",
        "how long a start waits for a PostgreSQL server that is away",
    ),
    key(
        "auto_migrate",
        "CASIDE_AUTO_MIGRATE",
        "true or false",
        "whether `serve` brings the database's schema up to date",
    ),
    key(
        "redis_url",
        "REDIS_URL",
        "redis://[:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// with TLS",
        "where nodes find each other; left out: this node is alone",
    ),
    key(
        "cluster_listen",
        "CASIDE_CLUSTER_LISTEN",
        "address:port",
        "address for links from other nodes; never one that clients can reach",
    ),
    key(
        "cluster_advertise",
        "CASIDE_CLUSTER_ADVERTISE",
        "host:port",
        "where other nodes reach cluster_listen; left out: that itself",
    ),
    secret(
        "cluster_cookie",
        "CASIDE_CLUSTER_COOKIE",
        "at least 16 bytes, the same on all nodes",
        "what nodes know each other by",
    ),
    key(
        "cluster_cert",
        "CASIDE_CLUSTER_CERT",
        "path of a PEM file, together with CASIDE_CLUSTER_KEY and CASIDE_CLUSTER_CA",
        "this node's certificate for links, for the host of cluster_advertise",
    ),
    key("cluster_key", "CASIDE_CLUSTER_KEY", "path of a PEM file", "its key"),
    key(
        "cluster_ca",
        "CASIDE_CLUSTER_CA",
        "path of a PEM file",
        "whose certificates other nodes must show",
    ),
    key(
        "cluster_lease",
        "CASIDE_CLUSTER_LEASE",
        "1s to 1m, like 3s; the same on all nodes",
        "how long a node that is not heard of keeps its rooms",
    ),
    key(
        "s3_bucket",
        "S3_BUCKET",
        "a bucket's name",
        "where recordings go; left out: files in the data directory",
    ),
    key(
        "s3_endpoint",
        "S3_ENDPOINT",
        "an http or https URL",
        "an S3-compatible service other than AWS",
    ),
    key("s3_region", "S3_REGION", "a region's name", "the bucket's region"),
    key(
        "aws_access_key_id",
        "AWS_ACCESS_KEY_ID",
        "an access key's id, together with AWS_SECRET_ACCESS_KEY",
        "the account for S3",
    ),
    secret(
        "aws_secret_access_key",
        "AWS_SECRET_ACCESS_KEY",
        "a secret access key, together with AWS_ACCESS_KEY_ID",
        "the secret for S3",
    ),
    secret(
        "aws_session_token",
        "AWS_SESSION_TOKEN",
        "the session token of temporary keys, together with AWS_ACCESS_KEY_ID",
        "comes with temporary keys for S3",
    ),
    secret(
        "jwt_secret",
        "JWT_SECRET",
        "at least 32 bytes, for instance from `openssl rand -base64 48`",
        "signs and verifies tokens with HS256",
    ),
    key(
        "jwt_private_key_file",
        "JWT_PRIVATE_KEY_FILE",
        "paths of PEM files with RSA (2048 bits or more) or Ed25519 keys, separated by commas; the first a private key",
        "keys for RS256 and EdDSA: the first signs, all of them verify; public keys only verify",
    ),
    key(
        "audit_log",
        "CASIDE_AUDIT_LOG",
        "true or false",
        "whether acts of admins and moderators and logins are written to the log, whatever RUST_LOG says",
    ),
    key(
        "rust_log",
        "RUST_LOG",
        "directives like info or info,caside=debug",
        "which log lines are written",
    ),
    key("log_format", "CASIDE_LOG_FORMAT", "human or json", "how log lines look"),
    key(
        "trace_slow",
        "CASIDE_TRACE_SLOW",
        "0s to 7d, like 500ms, 30s or 5m",
        "requests that take so long are traced whatever OTEL_TRACES_SAMPLER says, as those are that fail",
    ),
];

/// The setting of this name in `caside.toml`.
pub(crate) fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The setting of this variable.
pub(crate) fn by_variable(variable: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.variable == variable)
}

/// The known word that is most like `given`, if one is near.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| {
            (
                strsim::jaro_winkler(&given.to_ascii_lowercase(), &word.to_ascii_lowercase()),
                word,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// The variable that was meant by `CASIDE_` and this rest, when that is at most two slips of the keyboard away.
pub(crate) fn slip(rest: &str) -> Option<&'static str> {
    let near = |key: &&Key| {
        let known = key.variable.strip_prefix("CASIDE_").unwrap_or(key.variable);
        strsim::osa_distance(known, rest) <= 2
    };
    KEYS.iter().find(near).map(|key| key.variable)
}

#[cfg(test)]
mod documented;
