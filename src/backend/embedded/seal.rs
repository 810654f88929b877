//! Seals secrets of stored connections: AES-256-GCM with a random nonce, and the key's file.
//!
//! version 1 | key's fingerprint 4 | nonce 12 | ciphertext and tag. The fingerprint tells another
//! key from damage.

use super::disk::file_error;
use crate::ports::BackendError;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};
use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const FINGERPRINT_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + FINGERPRINT_BYTES + NONCE_LEN;
/// Others, and writing by the group: a mounted secret is often readable by its group.
const TOO_OPEN: u32 = 0o037;

pub struct Sealer {
    /// For proofs between instances: made from the key, and nothing leads back.
    proof_key: [u8; KEY_BYTES],
    key: LessSafeKey,
    fingerprint: [u8; FINGERPRINT_BYTES],
    random: SystemRandom,
}

impl Sealer {
    /// The key of a file: 32 bytes, or 64 hexadecimal digits.
    pub fn from_file(path: &Path) -> Result<Sealer, BackendError> {
        let mode =
            fs::metadata(path).map_err(|e| file_error("read the key file", path, &e))?.permissions().mode();
        if mode & TOO_OPEN != 0 {
            return Err(lasting(format!(
                "the key file {} is open to others (mode {:04o}): run chmod 600 on it",
                path.display(),
                mode & 0o7777
            )));
        }
        let text = fs::read(path).map_err(|e| file_error("read the key file", path, &e))?;
        let key = parse_key(&text).ok_or_else(|| {
            lasting(format!(
                "the key file {} must hold 32 bytes or 64 hexadecimal digits, and holds {} bytes: restore it, \
                 or make one with: openssl rand -hex 32",
                path.display(),
                text.len()
            ))
        })?;
        Sealer::new(&key)
    }

    /// The key of a file that is made when it is not there.
    pub fn from_file_or_new(path: &Path) -> Result<Sealer, BackendError> {
        if !path.exists() {
            let mut key = [0; KEY_BYTES];
            SystemRandom::new().fill(&mut key).map_err(|_| no_randomness())?;
            let mut text = String::with_capacity(2 * KEY_BYTES + 1);
            for byte in key {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
            // Under another name first: a half-written key must never be taken for one.
            let made = path.with_extension("key.new");
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&made)
                .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .and_then(|()| fs::rename(&made, path))
                .and_then(|()| path.parent().map_or(Ok(()), super::disk::sync_dir))
                .map_err(|e| file_error("create the key file", path, &e))?;
        }
        Sealer::from_file(path)
    }

    fn new(key: &[u8; KEY_BYTES]) -> Result<Sealer, BackendError> {
        let unbound =
            UnboundKey::new(&AES_256_GCM, key).map_err(|_| lasting("the key is unusable".into()))?;
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"websocket-manager key fingerprint");
        context.update(key);
        fingerprint.copy_from_slice(&context.finish().as_ref()[..FINGERPRINT_BYTES]);
        let proofs = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut proof_key = [0; KEY_BYTES];
        proof_key
            .copy_from_slice(hmac::sign(&proofs, b"websocket-manager proofs between instances").as_ref());
        Ok(Sealer { proof_key, key: LessSafeKey::new(unbound), fingerprint, random: SystemRandom::new() })
    }

    /// By which the instances of a fleet prove to one another that they have the same key.
    pub fn proof_key(&self) -> [u8; KEY_BYTES] {
        self.proof_key
    }

    /// Seals `plaintext`; it opens only with the same key and the same `aad`.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, BackendError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| no_randomness())?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plaintext.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.fingerprint);
        sealed.extend_from_slice(&nonce);
        let mut text = plaintext.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text)
            .map_err(|_| lasting("the secret is too long to be sealed".into()))?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, BackendError> {
        let damaged = || lasting("a sealed secret is damaged, or belongs to another connection".into());
        let (&version, _) = sealed.split_first().ok_or_else(damaged)?;
        if version != VERSION {
            return Err(lasting(format!(
                "a secret is sealed in version {version}, this program knows {VERSION}"
            )));
        }
        if sealed.len() < HEAD_BYTES {
            return Err(damaged());
        }
        let (head, text) = sealed.split_at(HEAD_BYTES);
        if head[1..=FINGERPRINT_BYTES] != self.fingerprint {
            return Err(lasting(
                "a secret is sealed with another key: give all instances the same --secret-key-file".into(),
            ));
        }
        let nonce =
            Nonce::try_assume_unique_for_key(&head[1 + FINGERPRINT_BYTES..]).map_err(|_| damaged())?;
        let mut text = text.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| damaged())?.len();
        text.truncate(length);
        Ok(text)
    }
}

fn parse_key(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if text.len() == KEY_BYTES {
        return text.try_into().ok();
    }
    let digits = text.trim_ascii();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(key)
}

fn lasting(message: String) -> BackendError {
    BackendError { message, transient: false }
}

fn no_randomness() -> BackendError {
    BackendError { message: "the system gave no random bytes".into(), transient: true }
}

#[cfg(test)]
mod tests;

impl crate::ports::Seal for Sealer {
    fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, BackendError> {
        Sealer::seal(self, name.as_bytes(), plain)
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, BackendError> {
        Sealer::open(self, name.as_bytes(), sealed)
    }
}
