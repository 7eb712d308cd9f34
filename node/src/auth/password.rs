//! Passwords, as Argon2id hashes (RFC 9106).
//!
//! A hash costs 19 MiB and tens of milliseconds: it runs beside the async threads, at most as many at a time as there
//! are cores, and a bounded number may wait. An unknown user costs the same as a wrong password.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

/// Longest password, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 1024;
/// Shortest new password, in characters.
pub(crate) const MIN_PASSWORD_CHARS: usize = 8;
/// How many may wait for their turn.
const MAX_WAITING: usize = 64;
/// And how long.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Why a password was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PasswordError {
    /// As many wait as may.
    #[error("too many passwords are being checked")]
    Overloaded,
    /// Longer than is looked at.
    #[error("a password may have {MAX_PASSWORD_BYTES} bytes at most")]
    TooLong,
    /// Too easy to guess.
    #[error("a password needs {MIN_PASSWORD_CHARS} characters at least")]
    TooShort,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes and checks passwords.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// What an unknown user's password is checked against.
    nobody: Arc<str>,
}

impl Passwords {
    /// With as many turns at a time as there are cores.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] when the system has no randomness.
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            turns: Arc::new(Semaphore::new(cores)),
            waiting: Arc::default(),
            nobody: hash_now("a password that nobody has")?.into(),
        })
    }

    /// The hash of a new password, in PHC string format.
    ///
    /// # Errors
    /// [`PasswordError`]; `Overloaded` may pass.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        if password.chars().count() < MIN_PASSWORD_CHARS {
            return Err(PasswordError::TooShort);
        }
        let password = checked(password)?;
        self.run(move || hash_now(&password)).await?
    }

    /// Whether `password` is the one of `hash`. `None`, for an unknown user, takes as long and is always wrong.
    ///
    /// # Errors
    /// [`PasswordError::Overloaded`].
    pub(crate) async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, PasswordError> {
        let Ok(password) = checked(password) else {
            return Ok(false);
        };
        let known = hash.is_some();
        let hash = hash.map_or_else(|| self.nobody.clone(), Arc::from);
        let right = self.run(move || verify_now(&password, &hash)).await?;
        Ok(right && known)
    }

    /// Runs `work` on a thread of its own when it is its turn.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let waiting = Waiting::enter(&self.waiting)?;
        let turn = tokio::time::timeout(MAX_WAIT, self.turns.clone().acquire_owned());
        let turn = turn
            .await
            .map_err(|_| PasswordError::Overloaded)?
            .map_err(|_| PasswordError::Failed)?;
        drop(waiting);
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        task.await.map_err(|_| PasswordError::Failed)
    }
}

/// A place among those who wait; given up when dropped.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn enter(count: &Arc<AtomicUsize>) -> Result<Self, PasswordError> {
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            count.fetch_sub(1, Ordering::Relaxed);
            return Err(PasswordError::Overloaded);
        }
        Ok(Self(count.clone()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn checked(password: &str) -> Result<String, PasswordError> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(PasswordError::TooLong);
    }
    Ok(password.to_owned())
}

fn hash_now(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|_| PasswordError::Failed)
}

fn verify_now(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_passes() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(passwords.verify("correct horse", Some(&hash)).await, Ok(true));
        assert_eq!(passwords.verify("wrong horse", Some(&hash)).await, Ok(false));
        assert_eq!(passwords.verify("a password that nobody has", None).await, Ok(false));
        assert_eq!(passwords.verify("x", Some("not a hash")).await, Ok(false));
        assert_eq!(passwords.hash("short").await, Err(PasswordError::TooShort));
        assert_eq!(passwords.hash(&"x".repeat(1025)).await, Err(PasswordError::TooLong));
    }

    #[tokio::test]
    async fn a_crowd_is_refused_at_once_and_the_places_come_back() {
        let passwords = Passwords::new().unwrap();
        let all_turns = passwords
            .turns
            .clone()
            .acquire_many_owned(passwords.turns.available_permits() as u32)
            .await
            .unwrap();
        let crowd: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.verify("x", Some("not a hash")).await })
            })
            .collect();
        while passwords.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.verify("x", None).await, Err(PasswordError::Overloaded));
        drop(all_turns);
        for one in crowd {
            assert_eq!(one.await.unwrap(), Ok(false));
        }
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }
}
