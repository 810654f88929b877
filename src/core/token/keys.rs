//! A JSON web key set: the keys that tokens may be signed with, each for one algorithm.

use crate::limits;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// As tokens and keys spell it, exactly.
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "HS256" => Some(Algorithm::Hs256),
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    Hmac(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed: 4, x, y.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub kid: Option<Box<str>>,
    pub material: Material,
}

impl Key {
    /// The one that this key is for. It follows from what the key is, so that a public key can never
    /// be taken for a shared secret.
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Hmac(_) => Algorithm::Hs256,
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }
}

/// Nothing of the key itself.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.kid, self.algorithm())
    }
}

/// A secret that is shorter than the digest can be guessed.
const SECRET_BYTES_MIN: usize = 32;
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
const COORDINATE_BYTES: usize = 32;

/// `{"keys": [...]}`. The error says which key is wrong, and never what stands in it.
pub fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    let value: Value = serde_json::from_slice(text).map_err(|_| "is not JSON")?;
    let list = value.get("keys").and_then(Value::as_array);
    let list = list.ok_or("is no JSON web key set; it must be {\"keys\": [...]}")?;
    if list.is_empty() || list.len() > limits::TOKEN_KEYS_MAX {
        return Err(format!("must hold 1 to {} keys", limits::TOKEN_KEYS_MAX));
    }
    let mut keys: Vec<Key> = Vec::with_capacity(list.len());
    for (place, item) in list.iter().enumerate() {
        let key = item.as_object().ok_or("is no object".to_owned()).and_then(key);
        let key = key.map_err(|why| format!("keys[{place}]: {why}"))?;
        if key.kid.is_some() && keys.iter().any(|known| known.kid == key.kid) {
            return Err(format!("keys[{place}]: its kid is that of another key; give each its own"));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn key(members: &Map<String, Value>) -> Result<Key, String> {
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name} must be a string")),
    };
    let bytes = |name: &str| {
        let encoded = text(name)?.ok_or_else(|| format!("{name} is missing"))?;
        URL_SAFE_NO_PAD.decode(encoded).map_err(|_| format!("{name} is not base64url without padding"))
    };
    if text("use")?.is_some_and(|what| what != "sig") {
        return Err("its use is not sig; leave it out of the file".into());
    }
    let curve = || text("crv").map(Option::unwrap_or_default);
    let material = match text("kty")?.ok_or("kty is missing")? {
        "oct" => secret(bytes("k")?)?,
        "RSA" => rsa(bytes("n")?, bytes("e")?)?,
        "EC" if curve()? == "P-256" => point(&bytes("x")?, &bytes("y")?)?,
        "OKP" if curve()? == "Ed25519" => edwards(bytes("x")?)?,
        _ => return Err("is of no kind that is accepted: oct, RSA, EC with P-256, OKP with Ed25519".into()),
    };
    let key = Key { kid: text("kid")?.map(Into::into), material };
    match text("alg")? {
        Some(named) if Algorithm::named(named) != Some(key.algorithm()) => {
            Err("its alg does not go with its kty; oct is HS256, RSA RS256, EC ES256, OKP EdDSA".into())
        }
        _ => Ok(key),
    }
}

fn secret(k: Vec<u8>) -> Result<Material, String> {
    if k.len() < SECRET_BYTES_MIN {
        return Err(format!("k has {} bytes; a secret for HS256 has at least {SECRET_BYTES_MIN}", k.len()));
    }
    Ok(Material::Hmac(k))
}

fn rsa(mut n: Vec<u8>, e: Vec<u8>) -> Result<Material, String> {
    // Some write a zero before it, as signed numbers have.
    if n.first() == Some(&0) {
        n.remove(0);
    }
    if !RSA_BYTES.contains(&n.len()) {
        return Err(format!("n has {} bits; an RSA key has 2048 to 8192", n.len() * 8));
    }
    Ok(Material::Rsa { n, e })
}

fn point(x: &[u8], y: &[u8]) -> Result<Material, String> {
    if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
        return Err(format!("x and y must have {COORDINATE_BYTES} bytes each"));
    }
    Ok(Material::P256([&[4], x, y].concat()))
}

fn edwards(x: Vec<u8>) -> Result<Material, String> {
    if x.len() != COORDINATE_BYTES {
        return Err(format!("x must have {COORDINATE_BYTES} bytes"));
    }
    Ok(Material::Ed25519(x))
}
