//! The state of ICE-lite: credentials, checked paths, the nominated one.

use std::time::{Duration, Instant};

use rtc_crypto::{HmacAlgorithm, Mac};

use super::stun::{Request, Response};
use crate::control::CloseReason;
use crate::crypto::crypto;
use crate::parameters::{IceCredentials, Path};
use crate::transport::TransportEvent;

/// Paths that a transport keeps. At the bound the one checked longest ago gives way, never the nominated one.
pub const MAX_PATHS: usize = 16;

/// A client that nominates two paths in turns within this time nominates aggressively (RFC 5245 §8.1.1.2).
const ALTERNATING: Duration = Duration::from_secs(3);

/// Credentials of ours, ready to check and sign with.
struct Local {
    ufrag: String,
    mac: Box<dyn Mac>,
}

impl Local {
    fn new(credentials: &IceCredentials) -> Self {
        let mac = crypto()
            .new_hmac(HmacAlgorithm::Sha1, credentials.pwd.as_bytes())
            .expect("HMAC-SHA1 is built in and takes keys of any length");
        Self {
            ufrag: credentials.ufrag.clone(),
            mac,
        }
    }
}

struct CheckedPath {
    path: Path,
    priority: u32,
    last_check: Instant,
    last_nomination: Option<Instant>,
}

/// One transport's ICE agent.
pub(crate) struct Agent {
    /// At most two: the current ones last; the ones before stay until the current are used.
    locals: Vec<Local>,
    /// The client's ufrags once told: at most two, like ours.
    remotes: Vec<String>,
    paths: Vec<CheckedPath>,
    nominated: Option<Path>,
    /// When all ends without a check: the first one, or one that follows the loss of every path.
    check_due: Option<Instant>,
    /// A check was answered once.
    was_checked: bool,
    consent_timeout: Duration,
}

impl Agent {
    pub(crate) fn new(now: Instant, local: &IceCredentials, ice_timeout: Duration, consent_timeout: Duration) -> Self {
        Self {
            locals: vec![Local::new(local)],
            remotes: Vec::new(),
            paths: Vec::new(),
            nominated: None,
            check_due: Some(now + ice_timeout),
            was_checked: false,
            consent_timeout,
        }
    }

    /// Takes new credentials of ours (ICE restart). Those in use stay valid until a check uses the new ones.
    pub(crate) fn set_local(&mut self, credentials: &IceCredentials) {
        if self.locals.last().is_none_or(|local| local.ufrag != credentials.ufrag) {
            // A restart during a restart: what was never used goes.
            self.locals.truncate(1);
            self.locals.push(Local::new(credentials));
        }
    }

    /// Takes the client's credentials. Those told before stay valid until a check uses the new ones.
    pub(crate) fn set_remote(&mut self, credentials: &IceCredentials) {
        if self.remotes.last() != Some(&credentials.ufrag) {
            self.remotes.truncate(1);
            self.remotes.push(credentials.ufrag.clone());
        }
    }

    pub(crate) fn nominated(&self) -> Option<Path> {
        self.nominated
    }

    pub(crate) fn owns(&self, path: &Path) -> bool {
        // The nominated one is asked for with nearly every packet.
        self.nominated.as_ref() == Some(path) || self.paths.iter().any(|checked| checked.path == *path)
    }

    pub(crate) fn paths(&self) -> usize {
        self.paths.len()
    }

    /// Takes a STUN datagram and returns what is to be sent back on its path. `None` for what is not an authentic Binding request: it
    /// changes nothing and gets no answer.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        mut emit: impl FnMut(TransportEvent),
    ) -> Option<Response> {
        let request = Request::parse(datagram)?;
        let (ours, theirs) = request.username;
        let at = self.locals.iter().position(|local| local.ufrag == ours)?;
        let mac = &mut *self.locals[at].mac;
        if !request.is_authentic(mac) {
            return None;
        }
        // RFC 8445 §7.3 asks for our half only. Theirs is checked once it is known, and may be known later than this.
        let remote = self.remotes.iter().position(|remote| remote == theirs);
        if remote.is_none() && !self.remotes.is_empty() {
            return None;
        }

        if !request.unknown().is_empty() {
            return Response::unknown_attributes(&request, mac).ok();
        }
        if request.controlled {
            // A lite agent is always the controlled one (RFC 8445 §6.1.1).
            return Response::role_conflict(&request, mac).ok();
        }
        let response = Response::success(&request, path.remote, mac).ok()?;
        self.locals.drain(..at);
        self.remotes.drain(..remote.unwrap_or(0));
        self.check_due = None;
        self.was_checked = true;
        self.note_check(now, path, request.priority, &mut emit);
        if request.nominates {
            self.note_nomination(now, path, &mut emit);
        }
        Some(response)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let consent = self
            .paths
            .iter()
            .map(|checked| checked.last_check + self.consent_timeout)
            .min();
        [self.check_due, consent].into_iter().flatten().min()
    }

    /// Why all ends, when no check came within its time limit.
    pub(crate) fn overdue(&self, now: Instant) -> Option<CloseReason> {
        let is_overdue = self.check_due.is_some_and(|due| now >= due);
        is_overdue.then_some(if self.was_checked {
            CloseReason::ConsentExpired
        } else {
            CloseReason::IceTimeout
        })
    }

    /// Drops paths without consent. Should the nominated one be among them, the one checked last takes over. `false` when none
    /// is left that there was.
    pub(crate) fn expire_paths(&mut self, now: Instant, mut emit: impl FnMut(TransportEvent)) -> bool {
        let had_any = !self.paths.is_empty();
        let timeout = self.consent_timeout;
        self.paths.retain(|checked| {
            let live = now < checked.last_check + timeout;
            if !live {
                emit(TransportEvent::PathRemoved(checked.path));
            }
            live
        });
        self.replace_nominated(&mut emit);
        !had_any || !self.paths.is_empty()
    }

    /// Drops a path that cannot be used any more. The client has as long as its consent lasts to come back on another one.
    pub(crate) fn drop_path(&mut self, now: Instant, path: Path, mut emit: impl FnMut(TransportEvent)) {
        let Some(at) = self.position(&path) else { return };
        self.paths.swap_remove(at);
        emit(TransportEvent::PathRemoved(path));
        self.replace_nominated(&mut emit);
        if self.paths.is_empty() {
            self.check_due = Some(now + self.consent_timeout);
        }
    }

    /// When the nominated path is gone, the one checked last takes over.
    fn replace_nominated(&mut self, emit: &mut impl FnMut(TransportEvent)) {
        if let Some(old) = self.nominated.filter(|path| self.position(path).is_none()) {
            self.nominated = self
                .paths
                .iter()
                .max_by_key(|checked| checked.last_check)
                .map(|checked| checked.path);
            if let Some(new) = self.nominated {
                emit(TransportEvent::PathChanged { old: Some(old), new });
            }
        }
    }

    fn position(&self, path: &Path) -> Option<usize> {
        self.paths.iter().position(|checked| checked.path == *path)
    }

    fn note_check(&mut self, now: Instant, path: Path, priority: u32, emit: &mut impl FnMut(TransportEvent)) {
        if let Some(at) = self.position(&path) {
            let checked = &mut self.paths[at];
            checked.last_check = checked.last_check.max(now);
            checked.priority = priority;
            return;
        }
        if self.paths.len() >= MAX_PATHS {
            let nominated = self.nominated;
            let candidates = self
                .paths
                .iter()
                .enumerate()
                .filter(|(_, checked)| Some(checked.path) != nominated);
            if let Some((oldest, _)) = candidates.min_by_key(|(_, checked)| checked.last_check) {
                emit(TransportEvent::PathRemoved(self.paths.swap_remove(oldest).path));
            }
        }
        self.paths.push(CheckedPath {
            path,
            priority,
            last_check: now,
            last_nomination: None,
        });
        emit(TransportEvent::PathAdded(path));
    }

    /// A later nomination moves the path (a client that changes networks, RFC 8445 §8.1.1).
    ///
    /// A client that nominates aggressively nominates several paths again and again; it means the one of the highest priority.
    fn note_nomination(&mut self, now: Instant, path: Path, emit: &mut impl FnMut(TransportEvent)) {
        let Some(at) = self.position(&path) else { return };
        let before = self.paths[at].last_nomination.replace(now);
        let Some(old) = self.nominated.filter(|old| *old != path) else {
            if self.nominated.is_none() {
                self.nominated = Some(path);
                emit(TransportEvent::PathChanged { old: None, new: path });
            }
            return;
        };
        let alternates = self.position(&old).map(|at| &self.paths[at]).is_some_and(|current| {
            current.priority > self.paths[at].priority
                && current
                    .last_nomination
                    .is_some_and(|current| now < current + ALTERNATING && before < Some(current))
                && before.is_some()
        });
        if !alternates {
            self.nominated = Some(path);
            emit(TransportEvent::PathChanged {
                old: Some(old),
                new: path,
            });
        }
    }
}
