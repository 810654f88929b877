//! Tokens: the keys they are checked with, and their signatures.

use crate::{
    core::token::{self, Claims, Expected, Key, Material, Parsed, Refused, keys},
    limits,
};
use parking_lot::Mutex;
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// How often the file is looked at, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Stamp = Option<(SystemTime, u64)>;

#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// A JSON web key set.
    pub keys: PathBuf,
    pub audience: String,
    pub issuer: String,
}

/// One a thread. A file that does not work changes nothing: the keys before it stay.
pub struct Verifier {
    path: PathBuf,
    expected: Expected,
    now: Mutex<Loaded>,
}

struct Loaded {
    keys: Arc<[Key]>,
    stamp: Stamp,
    /// The file that was refused last, so that it is said once.
    refused: Option<Stamp>,
    looked: Instant,
}

impl Verifier {
    pub fn open(settings: &TokenSettings) -> Result<Self, String> {
        let stamp = stamp(&settings.keys);
        let keys = load(&settings.keys)?;
        Ok(Verifier {
            path: settings.keys.clone(),
            expected: Expected {
                audience: settings.audience.as_str().into(),
                issuer: settings.issuer.as_str().into(),
            },
            now: Mutex::new(Loaded { keys, stamp, refused: None, looked: Instant::now() }),
        })
    }

    /// What the token says, when all of it is to be believed.
    pub fn judge(&self, text: &str) -> Result<Claims, Refused> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        judge(text, &self.keys(), &self.expected, now)
    }

    fn keys(&self) -> Arc<[Key]> {
        let mut loaded = self.now.lock();
        if loaded.looked.elapsed() >= LOOK_INTERVAL {
            loaded.look(&self.path);
        }
        loaded.keys.clone()
    }
}

impl Loaded {
    /// One call of stat, and a load only when something changed.
    fn look(&mut self, path: &Path) {
        self.looked = Instant::now();
        let stamp = stamp(path);
        if stamp == self.stamp {
            return;
        }
        match load(path) {
            Ok(keys) => {
                self.keys = keys;
                self.stamp = stamp;
                self.refused = None;
                tracing::info!(path = %path.display(), "token keys read again");
            }
            Err(why) if self.refused != Some(stamp) => {
                self.refused = Some(stamp);
                tracing::warn!(%why, "new token keys refused, the old ones stay");
            }
            Err(_) => {}
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

fn load(path: &Path) -> Result<Arc<[Key]>, String> {
    let named = |why: String| format!("token_keys '{}' {why}", path.display());
    let mut text = Vec::new();
    let bound = limits::TOKEN_KEYS_BYTES_MAX as u64 + 1;
    let read = fs::File::open(path).and_then(|file| file.take(bound).read_to_end(&mut text));
    read.map_err(|error| named(format!("cannot be read: {error}")))?;
    if text.len() as u64 == bound {
        return Err(named(format!("is longer than {} bytes", limits::TOKEN_KEYS_BYTES_MAX)));
    }
    keys::parse(&text).map(Into::into).map_err(named)
}

/// The signature first: what an unsigned token claims is nobody's business.
fn judge(text: &str, keys: &[Key], expected: &Expected, now: Duration) -> Result<Claims, Refused> {
    let parsed = token::parse(text)?;
    let candidates = parsed.candidates(keys);
    if candidates.is_empty() {
        return Err(Refused::Key);
    }
    if !candidates.into_iter().any(|key| signed_by(key, &parsed)) {
        return Err(Refused::Signature);
    }
    token::claims(&parsed, expected, now)
}

/// Compares in constant time where there is a secret.
fn signed_by(key: &Key, token: &Parsed<'_>) -> bool {
    let (signed, signature) = (token.signed, &token.signature[..]);
    match &key.material {
        Material::Hmac(secret) => {
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed, signature).is_ok()
        }
        Material::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
        }
        Material::P256(point) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
        }
        Material::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(signed, signature).is_ok(),
    }
}

#[cfg(test)]
mod tests;
