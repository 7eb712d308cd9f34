//! The keys that sign and verify tokens. Each is pinned to one algorithm, so that a token cannot choose how it is
//! checked (RFC 8725 §3.1).

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use caside_protocol::claims::{Claims, LEEWAY_S};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use super::{ISSUER, hex};
use crate::config::Settings;
use crate::private;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Shortest RSA modulus, in bytes (2048 bits; RFC 7518 §3.3).
const MIN_RSA_BYTES: usize = 256;
/// Our own key, in the data directory's `keys`.
const OWN_KEY: &str = "signing.pem";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {reason}", path = .path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The generator failed.
    #[error("a key could not be made")]
    Generate,
}

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokenError {
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It will be good.
    #[error("the token is not yet valid")]
    NotYet,
    /// Not a token of ours, or changed.
    #[error("the token is not valid")]
    Invalid,
}

struct Signer {
    kid: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

struct Verifier {
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
    /// The public key as published; secrets have none.
    public: Option<Jwk>,
    /// Whether nobody else signs with it, so that every token of it names us. An application that was given a configured
    /// secret or key, or whose public key we were given, names itself.
    ours_alone: bool,
}

impl Verifier {
    fn ours_alone(self) -> Self {
        Self {
            ours_alone: true,
            ..self
        }
    }
}

/// One key as read from a file.
struct KeyFile {
    signer: Option<Signer>,
    verifier: Verifier,
}

/// All keys of a node.
pub(crate) struct KeyRing {
    signer: Signer,
    verifiers: Vec<Verifier>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing")
            .field("signer", &self.signer.kid)
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// The configured keys, or those of the data directory, where one is made when there is none.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub(crate) fn load(settings: &Settings) -> Result<Self, KeyError> {
        let mut signer = None;
        let mut verifiers = Vec::new();
        for path in &settings.jwt_private_key_file {
            let file = read_key(&path.0)?;
            if file.signer.is_some() {
                private::warn_of_open_key(&path.0);
            }
            if signer.is_none() {
                signer = Some(file.signer.ok_or_else(|| KeyError::Content {
                    path: path.0.clone(),
                    reason: "the first key signs, so it must be a private one",
                })?);
            }
            verifiers.push(file.verifier);
        }
        if let Some(secret) = &settings.jwt_secret {
            let (by_secret, verifier) = from_secret(secret.expose().as_bytes());
            signer = signer.or(Some(by_secret));
            verifiers.push(verifier);
        }
        match signer {
            Some(signer) => Ok(Self { signer, verifiers }),
            None => Self::own(&settings.data_dir().join("keys")),
        }
    }

    /// Our own keys: `signing.pem` signs, every other PEM file beside it only verifies.
    fn own(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(OWN_KEY);
        if !path.exists() {
            make_key(dir, &path)?;
        }
        let file = read_key(&path)?;
        let signer = file.signer.ok_or_else(|| KeyError::Content {
            path: path.clone(),
            reason: "not a private key",
        })?;
        let mut verifiers = vec![file.verifier.ours_alone()];
        let listed = std::fs::read_dir(dir).map_err(|source| KeyError::File {
            path: dir.to_owned(),
            source,
        })?;
        for other in listed.flatten().map(|entry| entry.path()) {
            if other != path && other.extension().is_some_and(|ext| ext == "pem") {
                let file = read_key(&other)?;
                // An earlier one of ours, or somebody's public key.
                let earlier = file.signer.is_some();
                verifiers.push(if earlier {
                    file.verifier.ours_alone()
                } else {
                    file.verifier
                });
            }
        }
        Ok(Self { signer, verifiers })
    }

    /// Signs these claims.
    ///
    /// # Errors
    /// Those of the signature's library, which a key that was read does not cause.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.signer.algorithm);
        header.kid = Some(self.signer.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.signer.key)
    }

    /// Checks a token: its signature by the key it names (or by those of its algorithm, when it names none), `exp`
    /// and `nbf`.
    ///
    /// # Errors
    /// [`TokenError`] says no more than its bearer may know.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // RFC 7515 §4.1.11: an extension that must be understood and is not.
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let named = |v: &&Verifier| header.kid.as_ref().is_none_or(|kid| *kid == v.kid);
        let mut outcome = Err(TokenError::Invalid);
        for verifier in self
            .verifiers
            .iter()
            .filter(named)
            .filter(|v| v.algorithm == header.alg)
        {
            outcome = check(token, verifier);
            if outcome != Err(TokenError::Invalid) {
                break;
            }
        }
        outcome
    }

    /// The public keys (RFC 7517 §5).
    pub(crate) fn public_keys(&self) -> JwkSet {
        JwkSet {
            keys: self
                .verifiers
                .iter()
                .filter_map(|verifier| verifier.public.clone())
                .collect(),
        }
    }

    /// A secret of its own for another purpose, the same as long as the signing key is.
    pub(crate) fn derive(&self, purpose: &str) -> hmac::Key {
        let master = hmac::Key::new(hmac::HMAC_SHA256, self.signer.key.as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&master, purpose.as_bytes()).as_ref())
    }
}

fn check(token: &str, verifier: &Verifier) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(verifier.algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "sub"]);
    if verifier.ours_alone {
        validation.set_required_spec_claims(&["exp", "sub", "iss"]);
        validation.set_issuer(&[ISSUER]);
    }
    match jsonwebtoken::decode::<Claims>(token, &verifier.key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(e) => Err(match e.kind() {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::ImmatureSignature => TokenError::NotYet,
            _ => TokenError::Invalid,
        }),
    }
}

fn from_secret(secret: &[u8]) -> (Signer, Verifier) {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"caside key id");
    let kid = hex::encode(tag.as_ref().get(..8).unwrap_or_default());
    let signer = Signer {
        kid: kid.clone(),
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(secret),
    };
    let verifier = Verifier {
        kid,
        algorithm: Algorithm::HS256,
        key: DecodingKey::from_secret(secret),
        public: None,
        ours_alone: false,
    };
    (signer, verifier)
}

/// Reads one PEM file: a private key (PKCS #8, or PKCS #1 for RSA) or a public one (SubjectPublicKeyInfo).
fn read_key(path: &Path) -> Result<KeyFile, KeyError> {
    let text = std::fs::read(path).map_err(|source| KeyError::File {
        path: path.to_owned(),
        source,
    })?;
    parse_key(&text).map_err(|reason| KeyError::Content {
        path: path.to_owned(),
        reason,
    })
}

fn parse_key(text: &[u8]) -> Result<KeyFile, &'static str> {
    let block = pem::parse(text).map_err(|_| "not a PEM file")?;
    match block.tag() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => private_key(text, block.contents()),
        "PUBLIC KEY" => Ok(KeyFile {
            signer: None,
            verifier: public_key(text)?,
        }),
        _ => Err("neither a private nor a public key"),
    }
}

fn private_key(text: &[u8], der: &[u8]) -> Result<KeyFile, &'static str> {
    let (algorithm, key, public) = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let key = EncodingKey::from_ed_pem(text).map_err(|_| "not a usable Ed25519 key")?;
        let public = Jwk::from_decoding_key(&DecodingKey::from_ed_der(pair.public_key().as_ref()), None);
        (Algorithm::EdDSA, key, public)
    } else {
        let key = EncodingKey::from_rsa_pem(text).map_err(|_| "neither an RSA nor an Ed25519 key")?;
        let public = Jwk::from_encoding_key(&key, Algorithm::RS256);
        (Algorithm::RS256, key, public)
    };
    let verifier = published(public.map_err(|_| "not a usable key")?, algorithm)?;
    let signer = Signer {
        kid: verifier.kid.clone(),
        algorithm,
        key,
    };
    Ok(KeyFile {
        signer: Some(signer),
        verifier,
    })
}

fn public_key(text: &[u8]) -> Result<Verifier, &'static str> {
    let (algorithm, key) = match DecodingKey::from_ed_pem(text) {
        Ok(key) => (Algorithm::EdDSA, key),
        Err(_) => match DecodingKey::from_rsa_pem(text) {
            Ok(key) => (Algorithm::RS256, key),
            Err(_) => return Err("neither an RSA nor an Ed25519 key"),
        },
    };
    published(
        Jwk::from_decoding_key(&key, None).map_err(|_| "not a usable key")?,
        algorithm,
    )
}

/// The verifier of a public key, which is named by its thumbprint (RFC 7638).
fn published(mut jwk: Jwk, algorithm: Algorithm) -> Result<Verifier, &'static str> {
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "not a usable key")?;
    if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm
        && rsa.n.len() * 3 / 4 < MIN_RSA_BYTES
    {
        return Err("an RSA key needs 2048 bits at least");
    }
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| "not a usable key")?;
    jwk.common.key_id = Some(kid.clone());
    jwk.common.key_algorithm = Some(algorithm.into());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(Verifier {
        kid,
        algorithm,
        key,
        public: Some(jwk),
        ours_alone: false,
    })
}

/// Makes an Ed25519 key at `path`, readable by us alone. Of several processes that try, one succeeds and all read its
/// key: the file is written whole under another name and then linked, which fails when the name is taken.
fn make_key(dir: &Path, path: &Path) -> Result<(), KeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::File { path, source }
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
    let der = pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
    let draft = dir.join(format!("{OWN_KEY}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed(&draft))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed(&draft))?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(failed(&draft))?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
