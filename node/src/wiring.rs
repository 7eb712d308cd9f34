//! The one place where store, actors and media are put together.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use caside_actors::media_worker::{MediaWorkers, MediaWorkersConfig};
use caside_actors::node::{IceServers, Limits, NodeArgs, NodeHandle};
use caside_actors::observed::Observed;
use caside_actors::ports::{Authenticator, Later};
use caside_actors::recorder::{Recordings, RecordingsArgs};
use caside_actors::sfu::LocalSfus;
use caside_cluster::{
    Alone, Company, CompanyError, CompanySettings, ConnectError, Directory, Gateways, LinkTls, LinksSettings,
    LocalDirectory, RedisSettings,
};
use caside_media::certificate::Certificate;
use caside_media::sdp::CodecPolicy;
use caside_protocol::claims::Claims;
use caside_protocol::error::Refusal;
use caside_protocol::node::{Member, VERSION as VERSION_OF_LINKS};
use caside_store::journal::JournalOptions;
use caside_store::objects::{S3Credentials, S3Settings};
use caside_store::{Journal, ObjectStore, Spool, Store, StoreError, StoreOptions};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::Auth;
use crate::auth::keys::KeyRing;
use crate::auth::password::Passwords;
use crate::auth::secret;
use crate::client::Proxies;
use crate::config::Settings;
use crate::http::cors::Origins;
use crate::http::rates::{self, Rates};
use crate::http::readiness::Readiness;
use crate::http::traffic::Traffic;
use crate::http::{App, SharedApp};
use crate::private;
use crate::telemetry::Health;
use crate::turn::TurnCredentials;
use crate::whip::Whip;
use crate::ws::Sockets;

/// Version of this program, told in `welcome` and written into files.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that runs behind HTTP.
pub(crate) struct Running {
    /// What handlers work with.
    pub(crate) app: SharedApp,
    /// Notified when somebody wants this node to drain and end.
    pub(crate) stop: Arc<Notify>,
    recordings: Recordings,
    workers: Arc<MediaWorkers>,
}

/// How long after the first try to open the database the second comes; each later wait is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the end of a node's links may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How often the other nodes are told how this one is.
const DESCRIBED_EVERY: Duration = Duration::from_secs(1);

/// This run of the node; the same whenever it is asked.
pub(crate) fn member(settings: &Settings) -> Member {
    static BEGAN: OnceLock<u64> = OnceLock::new();
    let now = || u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Member {
        node: settings.node_id.clone(),
        incarnation: *BEGAN.get_or_init(now),
    }
}

/// What the company of other nodes is joined with; `None` when this node is alone.
fn company_settings(settings: &Settings, member: &Member) -> Option<CompanySettings> {
    let redis = RedisSettings::new(settings.redis_url.as_ref()?.expose());
    let cookie = settings.cluster_cookie.as_ref()?.expose().to_owned();
    let mut links = LinksSettings::new(member.clone(), VERSION_OF_LINKS, settings.cluster_listen, cookie);
    if let (Some(cert), Some(key), Some(ca)) = (&settings.cluster_cert, &settings.cluster_key, &settings.cluster_ca) {
        links.tls = Some(LinkTls {
            cert: cert.0.clone(),
            key: key.0.clone(),
            ca: ca.0.clone(),
        });
    }
    let lease = settings.cluster_lease.0;
    Some(CompanySettings {
        links,
        advertise: settings.cluster_advertise.as_ref().map(|at| at.as_str().to_owned()),
        redis: RedisSettings {
            lease,
            renew: lease / 6,
            call_timeout: lease / 3,
            ..redis
        },
    })
}

/// Joins the other nodes, and waits for a Redis that is away, as it is when all of a machine starts at once.
async fn await_company(settings: CompanySettings, patience: Duration) -> anyhow::Result<Arc<Company>> {
    let until = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match Company::join(settings.clone()).await {
            Ok(company) => return Ok(company),
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        let away = matches!(&error, CompanyError::Directory(ConnectError::Wire(_)));
        let error = anyhow::Error::new(error).context("cannot join the other nodes");
        if !away || left.is_zero() {
            return Err(error);
        }
        tracing::warn!(
            error = format_args!("{error:#}"),
            given_up_in_s = left.as_secs(),
            "Redis is away; trying again"
        );
        tokio::time::sleep(pause.min(left)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Tells the other nodes how this one is, as long as it runs.
async fn describe(node: NodeHandle) {
    loop {
        tokio::time::sleep(DESCRIBED_EVERY).await;
        node.describe();
    }
}

/// Opens the database as [`open_store`] does, and waits for a server that is away, as it is when all of a machine starts
/// at once. What time does not mend, like a wrong password, fails at once.
///
/// # Errors
/// When it cannot be reached within `database_wait`, or cannot be used.
pub(crate) async fn await_store(settings: &Settings) -> anyhow::Result<Store> {
    let until = Instant::now() + settings.database_wait.0;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match open_store(settings).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        let away = error
            .chain()
            .any(|cause| cause.downcast_ref().is_some_and(StoreError::is_unavailable));
        // A file that cannot be opened now cannot be later.
        if !away || left.is_zero() || settings.database_url().starts_with("sqlite:") {
            return Err(error);
        }
        tracing::warn!(
            error = format_args!("{error:#}"),
            given_up_in_s = left.as_secs(),
            "the database is away; trying again"
        );
        tokio::time::sleep(pause.min(left)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Opens the database, with its schema brought up to date unless that is not wanted.
///
/// # Errors
/// When it cannot be reached or migrated.
pub(crate) async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    if settings.database_url.is_none() {
        private::database_file(settings.data_dir())?;
    }
    let store = Store::connect(&settings.database_url(), StoreOptions::default()).await;
    let store = store.context("cannot open the database")?;
    if settings.auto_migrate {
        let applied = caside_migrations::up(store.connection())
            .await
            .context("cannot migrate the database")?;
        for step in applied {
            tracing::info!(step, "the database was migrated");
        }
    }
    Ok(store)
}

async fn open_objects(settings: &Settings) -> anyhow::Result<ObjectStore> {
    let Some(bucket) = &settings.s3_bucket else {
        return Ok(ObjectStore::local(settings.data_dir().join("objects")).await?);
    };
    let credentials = match (&settings.aws_access_key_id, &settings.aws_secret_access_key) {
        (Some(id), Some(secret)) => S3Credentials::Static {
            access_key_id: id.as_str().to_owned(),
            secret_access_key: secret.expose().to_owned(),
            session_token: settings
                .aws_session_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
        },
        _ => S3Credentials::Role,
    };
    Ok(ObjectStore::s3(S3Settings {
        bucket: bucket.as_str().to_owned(),
        endpoint: settings.s3_endpoint.as_ref().map(|url| url.as_str().to_owned()),
        region: settings.s3_region.as_str().to_owned(),
        credentials,
    })?)
}

fn start_media(settings: &Settings) -> anyhow::Result<MediaWorkers> {
    let certificate = Certificate::generate().context("cannot make the certificate for media")?;
    let config = MediaWorkersConfig {
        workers: usize::try_from(settings.media_workers.get()).unwrap_or(1),
        port: u16::try_from(settings.media_port.get()).unwrap_or(0),
        addresses: settings.media_ip.clone(),
        // A browser on this machine that reached HTTP by loopback may have no other way.
        loopback: settings.loopback_only(),
        protocols: settings.media_protocols,
        max_participants: usize::try_from(settings.media_worker_participants.get()).unwrap_or(usize::MAX),
    };
    MediaWorkers::start(&config, certificate).map_err(|e| {
        let cause = std::error::Error::source(&e)
            .map(ToString::to_string)
            .unwrap_or_default();
        anyhow::anyhow!("{e}: {cause}")
    })
}

/// What rooms let through.
fn codec_policy(settings: &Settings) -> CodecPolicy {
    CodecPolicy {
        red: settings.audio_red,
        ..CodecPolicy::default()
    }
}

fn limits(settings: &Settings) -> Limits {
    let defaults = Limits::default();
    let connections = usize::try_from(settings.max_connections.get()).unwrap_or(usize::MAX);
    Limits {
        max_room_size: settings.max_room_size.as_u32(),
        // Sessions that wait for their resume have no socket.
        max_sessions: connections.saturating_mul(2),
        max_rooms: usize::try_from(settings.max_rooms.get()).unwrap_or(usize::MAX),
        auto_create_rooms: settings.auto_create_rooms,
        user_messages: rates::of(f64::from(settings.user_message_rate.as_u32())),
        ..defaults
    }
}

/// The configured servers, and those of TURN with credentials made for each user.
fn ice_servers(settings: &Settings) -> IceServers {
    let fixed = settings.ice_servers.0.clone();
    let urls: Vec<String> = settings.turn_urls.iter().map(ToString::to_string).collect();
    let turn = settings.turn_secret.as_ref().filter(|_| !urls.is_empty());
    let turn = turn.map(|secret| TurnCredentials::new(secret.expose(), urls));
    Arc::new(move |user| {
        let mut servers = fixed.clone();
        servers.extend(turn.as_ref().map(|turn| turn.server(user, OffsetDateTime::now_utc())));
        servers
    })
}

/// Reads tokens for sessions.
struct Tokens(Arc<Auth>);

impl Authenticator for Tokens {
    fn authenticate(&self, token: String) -> Later<'_, Result<Claims, Refusal>> {
        Box::pin(async move { Ok(self.0.authenticate(&token).await?.claims) })
    }
}

impl Running {
    /// Starts everything behind HTTP, ends what a crash of this node left open, and finishes its recordings.
    ///
    /// # Errors
    /// What could not be started.
    pub(crate) async fn start(
        settings: &Settings,
        keys: KeyRing,
        passwords: Passwords,
        store: Store,
        telemetry: Arc<Health>,
    ) -> anyhow::Result<Self> {
        let objects = open_objects(settings).await.context("cannot open the object store")?;
        let spool = Spool::open(settings.data_dir().join("spool"), settings.spool_max.0).await;
        let (spool, report) = spool.context("cannot open the spool")?;
        tracing::debug!(?report, "the spool was read");
        let workers = Arc::new(start_media(settings)?);
        let closed = store
            .close_orphans(&settings.node_id, OffsetDateTime::now_utc())
            .await?;
        if !closed.is_empty() {
            tracing::info!(calls = closed.len(), "calls that were cut off were ended");
        }
        let journal = Journal::start(store.clone(), JournalOptions::default());
        let auth = Arc::new(Auth::new(keys, passwords, store.clone(), journal.clone()));
        let observed = Observed::default();
        let recordings = RecordingsArgs {
            observed: observed.clone(),
            node: settings.node_id.clone(),
            spool,
            objects: objects.clone(),
            journal: journal.clone(),
            store: store.clone(),
            writing_app: format!("caside {VERSION}"),
        };
        let recordings = Recordings::start(None, recordings).await?;
        let ice_servers = ice_servers(settings);
        let limits = limits(settings);
        let heartbeat = limits.heartbeat;
        let member = member(settings);
        let stop = Arc::new(Notify::new());
        let company = match company_settings(settings, &member) {
            Some(company) => Some(await_company(company, settings.database_wait.0).await?),
            None => None,
        };
        let (directory, gateways): (Arc<dyn Directory>, Arc<dyn Gateways>) = match &company {
            Some(company) => (company.directory(), company.clone()),
            None => (Arc::new(LocalDirectory::new(member.clone())), Arc::new(Alone)),
        };
        let node = NodeHandle::start(NodeArgs {
            member,
            version: VERSION.to_owned(),
            directory,
            gateways,
            stop: stop.clone(),
            catalog: Arc::new(store.clone()),
            invites: Arc::new(store.clone()),
            journal: Arc::new(journal.clone()),
            authenticator: Arc::new(Tokens(auth.clone())),
            sfu: Arc::new(LocalSfus::new(workers.clone(), codec_policy(settings)).observed_by(observed.clone())),
            recorders: Arc::new(recordings.clone()),
            observed,
            limits,
            ice_servers: ice_servers.clone(),
        });
        let node = node.await?;
        if let Some(company) = &company {
            company.attend(node.inbox()).await;
            tokio::spawn(describe(node.clone()));
        }
        recordings
            .recover()
            .await
            .context("cannot list unfinished recordings")?;
        let app = Arc::new(App {
            auth,
            whip: Whip::new(node.clone(), ice_servers),
            readiness: Readiness::new(store.clone(), objects.clone()),
            store,
            journal,
            objects,
            node,
            company,
            media: workers.clone(),
            recordings: recordings.clone(),
            traffic: Traffic::default(),
            telemetry,
            origins: Origins::new(settings.cors_origins.clone(), settings.tls_cert.is_some()),
            rates: Rates::new(f64::from(settings.request_rate.as_u32())),
            max_rooms_per_user: settings.max_rooms_per_user.get(),
            tls: settings.tls_cert.is_some(),
            sockets: Sockets::new(
                usize::try_from(settings.max_connections.get()).unwrap_or(usize::MAX),
                heartbeat,
                usize::try_from(settings.max_connections_per_address.get()).unwrap_or(usize::MAX),
            ),
            proxies: Proxies::new(settings.trusted_proxies.clone()),
            metrics_token: settings
                .metrics_token
                .as_ref()
                .map(|token| secret::digest(token.expose().as_bytes())),
            loopback_only: settings.loopback_only(),
            max_room_size: settings.max_room_size.as_u32(),
            auto_create_rooms: settings.auto_create_rooms,
        });
        Ok(Self {
            app,
            stop,
            recordings,
            workers,
        })
    }

    /// Says goodbye to every client and ends the rooms, within `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        self.app.node.drain(limit).await;
    }

    /// Finishes what can be finished until `deadline`; the rest is taken up by the next start.
    pub(crate) async fn stop(self, deadline: Instant) {
        self.recordings.close(deadline).await;
        self.workers.stop();
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(500));
        if let Err(e) = self.app.journal.close(left).await {
            tracing::error!(error = %e, "some writes did not reach the database");
        }
        if let Err(e) = self.app.store.close().await {
            tracing::warn!(error = %e, "the database was not closed in order");
        }
        // Last: the others take it for the end of this process.
        if let Some(company) = &self.app.company
            && tokio::time::timeout(LEAVE_LIMIT, company.leave()).await.is_err()
        {
            tracing::warn!("the other nodes were not left in order");
        }
    }
}
