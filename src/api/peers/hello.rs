//! The greeting: both sides say who they are and whom they mean, and with a fleet's key they prove
//! that they belong to it.

use crate::proto::fleet::Hello;
use bytes::Bytes;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

/// The key of the fleet, the same at all instances. None: anyone who reaches the port is believed.
pub type PeerKey = Option<[u8; 32]>;

/// Another meaning of what is said gets another number; a fleet is then upgraded in two steps.
pub const VERSION: u32 = 1;
const NONCE_BYTES: usize = 16;

/// Which of the two greetings it is: one must not be taken for the other.
#[derive(Clone, Copy)]
pub enum Side {
    Caller,
    /// With the caller's nonce.
    Called,
}

/// How far the other side is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Full,
    /// We have a key and it showed none: it is like any client.
    Client,
}

pub fn greet(key: &PeerKey, side: Side, from: &str, to: &str, nonce: Option<Bytes>) -> Hello {
    let nonce = nonce.unwrap_or_else(|| {
        let mut drawn = vec![0; NONCE_BYTES];
        // Without randomness the proof still stands for who is meant.
        let _ = SystemRandom::new().fill(&mut drawn);
        drawn.into()
    });
    let proof = key.as_ref().map(|key| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Bytes::copy_from_slice(hmac::sign(&key, &signed(side, from, to, &nonce)).as_ref())
    });
    Hello {
        version: VERSION,
        from: from.to_owned(),
        to: to.to_owned(),
        nonce,
        proof: proof.unwrap_or_default(),
    }
}

/// The error says what is wrong, for the other side's log.
pub fn check(key: &PeerKey, side: Side, hello: &Hello, me: &str) -> Result<Trust, String> {
    if hello.version != VERSION {
        return Err(format!("speaks version {} of the peers' protocol, not {VERSION}", hello.version));
    }
    if hello.to != me {
        return Err(format!("means '{}', and this is '{me}'", hello.to));
    }
    let Some(key) = key else { return Ok(Trust::Full) };
    if hello.proof.is_empty() {
        return Ok(Trust::Client);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    match hmac::verify(&key, &signed(side, &hello.from, &hello.to, &hello.nonce), &hello.proof) {
        Ok(()) => Ok(Trust::Full),
        Err(_) => Err("has another key than this fleet".to_owned()),
    }
}

/// Each part with its length: no part can lend characters to the next.
fn signed(side: Side, from: &str, to: &str, nonce: &[u8]) -> Vec<u8> {
    let side: &[u8] = match side {
        Side::Caller => b"wsm-peers-caller",
        Side::Called => b"wsm-peers-called",
    };
    let mut text = Vec::new();
    for part in [side, &VERSION.to_le_bytes(), from.as_bytes(), to.as_bytes(), nonce] {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PeerKey = Some([7; 32]);

    #[test]
    fn only_the_one_who_is_meant_with_the_same_key_agrees() {
        let hello = greet(&KEY, Side::Caller, "a#1", "b#2", None);
        assert_eq!(check(&KEY, Side::Caller, &hello, "b#2"), Ok(Trust::Full));
        assert!(check(&KEY, Side::Caller, &hello, "b#3").unwrap_err().contains("'b#2'"));
        assert!(check(&KEY, Side::Called, &hello, "b#2").is_err(), "a greeting is no answer");
        assert!(check(&Some([8; 32]), Side::Caller, &hello, "b#2").is_err());
        let old = Hello { version: 0, ..hello.clone() };
        assert!(check(&KEY, Side::Caller, &old, "b#2").unwrap_err().contains("version 0"));
        let lent = Hello { from: "a#1b".into(), ..hello.clone() };
        assert!(check(&KEY, Side::Caller, &lent, "b#2").is_err());
        let other = Hello { nonce: Bytes::from_static(b"x"), ..hello };
        assert!(check(&KEY, Side::Caller, &other, "b#2").is_err());
    }

    #[test]
    fn without_a_proof_one_is_a_client_where_there_is_a_key() {
        let hello = greet(&None, Side::Caller, "a", "b", None);
        assert_eq!(check(&KEY, Side::Caller, &hello, "b"), Ok(Trust::Client));
        assert_eq!(check(&None, Side::Caller, &hello, "b"), Ok(Trust::Full));
    }
}
