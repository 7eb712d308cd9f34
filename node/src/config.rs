//! The configuration: flag > environment > `.env` > `caside.toml` > default, each value with its source.
//!
//! [`Settings`] is the one structure; [`key::KEYS`] says how each of its fields is named in each source and what is
//! allowed there. Absent on purpose: what the values are used for.

pub(crate) mod check;
pub(crate) mod dotenv;
pub(crate) mod key;
pub(crate) mod kinds;
pub(crate) mod layers;
pub(crate) mod lenient;
pub(crate) mod network;
pub(crate) mod show;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use caside_actors::media_worker::{MediaAddress, MediaProtocols};
use caside_protocol::NodeId;
use serde::{Deserialize, Serialize};

use kinds::{
    Bounded, DataSize, DatabaseUrl, FilePath, HostPort, HttpUrl, IceServers, LogFilter, LogFormat, Origin, RedisUrl,
    Secret, Span, TurnUrl, Word,
};

use network::Network;

/// Every setting, by its name in `caside.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Addresses for HTTP and WebSocket.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Database, keys, recordings and spool, unless they are elsewhere.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) data_dir: FilePath,
    /// This node's name in the cluster and in answers.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) node_id: NodeId,
    /// First port for media, UDP and TCP, one a worker; 0: any.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) media_port: Bounded<0, 65_535>,
    /// Addresses to bind and to offer for media; empty: the interfaces'.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) media_ip: Vec<MediaAddress>,
    /// What media travels by.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) media_protocols: MediaProtocols,
    /// Threads that carry media.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) media_workers: Bounded<1, 256>,
    /// Participants on one of them; more are placed on others.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) media_worker_participants: Bounded<1, 1_000_000>,
    /// The listeners' certificates, which turn TLS on.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) tls_cert: Option<FilePath>,
    /// Their key.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) tls_key: Option<FilePath>,
    /// WebSockets at a time; more are refused.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) max_connections: Bounded<1, 1_000_000>,
    /// Plain HTTP connections of one address at a time, and as many sockets of it that have no token yet.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) max_connections_per_address: Bounded<1, 4096>,
    /// HTTP requests a second of one address; four times as many at once.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) request_rate: Bounded<1, 1_000_000>,
    /// Messages a second of one user over all of their sockets; four times as many at once.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) user_message_rate: Bounded<1, 1_000_000>,
    /// How long a client may take nothing of an answer.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) write_timeout: Span,
    /// Proxies whose word on their clients' addresses is taken.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) trusted_proxies: Vec<Network>,
    /// Reads `/metrics` beside admins' tokens.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) metrics_token: Option<Secret<16>>,
    /// Participants in a room that says nothing itself.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) max_room_size: Bounded<1, 10_000>,
    /// Rooms that run here at a time.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) max_rooms: Bounded<1, 1_000_000>,
    /// Rooms that one user may own before no more are made by request.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) max_rooms_per_user: Bounded<1, 1_000_000>,
    /// Whether joining an unknown room makes it.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) auto_create_rooms: bool,
    /// Whether sound may be sent with earlier packets again.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) audio_red: bool,
    /// Other origins whose pages may use the API.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) cors_origins: Vec<Origin>,
    /// STUN and TURN servers for clients.
    #[serde(deserialize_with = "lenient::ice_servers")]
    pub(crate) ice_servers: IceServers,
    /// TURN servers for which credentials are made.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) turn_urls: Vec<TurnUrl>,
    /// What they are made with.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) turn_secret: Option<Secret<16>>,
    /// Recorded media that may wait on the disk.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) spool_max: DataSize,
    /// How long a stop may take.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) drain_timeout: Span,
    /// Where the database is; SQLite in the data directory when left out.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) database_url: Option<DatabaseUrl>,
    /// How long a start waits for a database that is away.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) database_wait: Span,
    /// Whether `serve` brings the database up to date.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) auto_migrate: bool,
    /// Where nodes find each other; alone when left out.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) redis_url: Option<RedisUrl>,
    /// Address for links from other nodes.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) cluster_listen: SocketAddr,
    /// Where other nodes reach it.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) cluster_advertise: Option<HostPort>,
    /// What nodes know each other by.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) cluster_cookie: Option<Secret<16>>,
    /// This node's certificate for links.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) cluster_cert: Option<FilePath>,
    /// Its key.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) cluster_key: Option<FilePath>,
    /// Whose certificates other nodes must show.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) cluster_ca: Option<FilePath>,
    /// How long a node that is not heard of keeps its rooms.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) cluster_lease: Span,
    /// Bucket for recordings; local files when left out.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) s3_bucket: Option<Word>,
    /// An S3-compatible service other than AWS.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) s3_endpoint: Option<HttpUrl>,
    /// The bucket's region.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) s3_region: Word,
    /// Who we are for S3.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) aws_access_key_id: Option<Word>,
    /// And our proof of it.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) aws_secret_access_key: Option<Secret<1>>,
    /// Comes with temporary keys.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) aws_session_token: Option<Secret<1>>,
    /// Signs and verifies tokens with HS256.
    #[serde(deserialize_with = "lenient::optional", serialize_with = "lenient::show_optional")]
    pub(crate) jwt_secret: Option<Secret<32>>,
    /// Keys for RS256 and EdDSA: the first signs, all verify.
    #[serde(deserialize_with = "lenient::list", serialize_with = "lenient::show_list")]
    pub(crate) jwt_private_key_file: Vec<FilePath>,
    /// Whether acts of admins and moderators are written down.
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) audit_log: bool,
    /// Which log lines are written.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) rust_log: LogFilter,
    /// How they look.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) log_format: LogFormat,
    /// From when on a request is slow, and its trace kept.
    #[serde(deserialize_with = "lenient::text", serialize_with = "lenient::show")]
    pub(crate) trace_slow: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            data_dir: FilePath(PathBuf::from("data")),
            node_id: NodeId::new("n1").expect("a constant that is a node id"),
            media_port: Bounded::of(40_000),
            media_ip: Vec::new(),
            media_protocols: MediaProtocols::Both,
            media_workers: Bounded::of(1),
            media_worker_participants: Bounded::of(10_000),
            tls_cert: None,
            tls_key: None,
            max_connections: Bounded::of(10_000),
            max_connections_per_address: Bounded::of(256),
            request_rate: Bounded::of(100),
            user_message_rate: Bounded::of(400),
            write_timeout: Span(Duration::from_secs(30)),
            trusted_proxies: Vec::new(),
            metrics_token: None,
            max_room_size: Bounded::of(100),
            max_rooms: Bounded::of(100_000),
            max_rooms_per_user: Bounded::of(1000),
            auto_create_rooms: true,
            audio_red: true,
            cors_origins: Vec::new(),
            ice_servers: IceServers::default(),
            turn_urls: Vec::new(),
            turn_secret: None,
            spool_max: DataSize(10 << 30),
            drain_timeout: Span(Duration::from_secs(30)),
            database_url: None,
            database_wait: Span(Duration::from_secs(60)),
            auto_migrate: true,
            redis_url: None,
            cluster_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            cluster_advertise: None,
            cluster_cookie: None,
            cluster_cert: None,
            cluster_key: None,
            cluster_ca: None,
            cluster_lease: Span(Duration::from_secs(3)),
            s3_bucket: None,
            s3_endpoint: None,
            s3_region: "us-east-1".parse().expect("a constant that is a word"),
            aws_access_key_id: None,
            aws_secret_access_key: None,
            aws_session_token: None,
            jwt_secret: None,
            jwt_private_key_file: Vec::new(),
            audit_log: true,
            rust_log: LogFilter::default(),
            log_format: LogFormat::default(),
            trace_slow: Span(Duration::from_millis(500)),
        }
    }
}

impl Settings {
    /// The data directory.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        &self.data_dir.0
    }

    /// Whether keys for tokens were configured; otherwise we make our own and stay on loopback.
    pub(crate) fn has_secrets(&self) -> bool {
        self.jwt_secret.is_some() || !self.jwt_private_key_file.is_empty()
    }

    /// Whether HTTP is on loopback alone.
    pub(crate) fn loopback_only(&self) -> bool {
        self.listen
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback())
    }

    /// The database's URL, with its password.
    pub(crate) fn database_url(&self) -> String {
        match &self.database_url {
            Some(url) => url.expose().to_owned(),
            None => format!("sqlite:{}", self.data_dir().join(crate::private::DATABASE).display()),
        }
    }
}
