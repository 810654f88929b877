use super::*;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    rsa::{self, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use serde_json::{Value, json};
use std::io::Write;

const NOW: Duration = Duration::from_secs(1_000_000);
const SECRET: &[u8] = b"a secret of thirty-two bytes and more";
/// Made for these tests and used nowhere else: ring does not make RSA keys.
const RSA: &str = concat!(
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCmx1s2/GSUE6pK/n29fUL6dliJJAUUjXJV1yJzjkUH5cHEJyIE",
    "K6xxJla74DXEcCaaOGoLgzl6pi0x6bb8vQ61QsLNYOeJkxABj60BqlvKfjRiyUtYyRV8E7kGM6GLhy4vrsV2BY9OhpjVnXuCi3et",
    "Wg6X8m7YDH6Q85FyMnsYmm2EF+vizfM+J8/nTucwNFGS2tMhzbvtIXmqKKH3Xap8iQnHD06l9vyjaZIbNKMpSJzkHJ6WjFy+9ZFZ",
    "wbiJwnk4RlTJc4zmqRTwTdmLEOC30ATids7lgcT1thANsCEeG+Ik661v3phQul0mbXNyJqGD0rv06Qn6y/YKs3ui1MK3AgMBAAEC",
    "ggEABWdBgNvXFKbLmKD7kjPtKAbFQh+gfDlDzcGXlpRE/SKoDyvZZm16FzM9f9ov6FXLkTvV0Eg+iKKV7tYxL2B6ZV5sx9pcTyxR",
    "ASdfgWoqRJXwvNaatsHSw6h77I0VrlrcszXtW4uq2oCWtr9QbPHlPSVFFKCb/U+m49A07tmDjpkqjkPfXsjjZSWlBmXX5nUeoNTf",
    "xlBOMIE/3rTNKuVwy+a5zZz2nqc0mDRZCAKg364CQVqRK5l6TzgIsEFLXV5zVm3VB6PN0rASCFCvUpbjTvCE5CrXbI+FqE99UsUH",
    "u6tkfw2PlAKD9Y1RE9Jk8S3AzbqvxA3jmLa/0qBZ3C/JKQKBgQDWHYwNqNegLjnQr7AGWvAJhXS2ljpX15FQrfqE6aNBcftuEPKZ",
    "RbrjRvSDTqCr8RyvOnUlivkA5CjlK2jKE52dcakxAgDYxhiWJ9urXb7NHvuE1+UmSH2nyRrn1gTBFLsBt5eJwFWuPFac7pB4Nw4b",
    "e9JBTz8qOPGsooV3v7Ti5QKBgQDHZ0l6qVXykbmL4WD5Sg9kvHRZ/rVY/2UFQCsY55cAGyDorc3LaswCjxF5i20fVNRIi1yFEI+z",
    "eaY4/JbhXDWv8CeiVe141auSFDstHEuPnPwRGuC7RSVUd1cmOQE15C08hYnnzEmet3NDPdWwjCd1ePdtsQV2K6KWrhr5x+JpawKB",
    "gCFajvOdxqEkMkto4tHKnrPM/0ZmFoaShQd9YpYL0yuhttoJd9EahKdc6T//IpZGRAKj55XGlU1nPVudrIA2GAprp0CEIF+kVDYn",
    "1VdXjh5j4ihqfT6+chyN/kv5EdqGAS+eStPhizdOHOvrWcPwR5lOa41S6/MG1dbfpkzmJyZlAoGALt2EtJKWA7PiQxEOhKi2Y3uz",
    "cO9fWfJ0oL5LIshTgg/eNTGcO6H3HubXOZTeac27Mu2mKhQRYiJGQgCDyaWtbJNqDUpazNqTP3sHyXtr+u3vhGmnxfvjYS3HStF9",
    "Clh9lUrhdZxa9TWynmwrDBp0r7Rlmt9PJE3vIbD74BbtjM8CgYEArnbncRZGt1nnpVXomE01gVNhFro477XwDiFW/JKxp15ogOeE",
    "9RLkSz9rmppj5cqM9v2ldvkKVunInPSG+LOB+Z3B51AsTZ90+1yxy0rx+TkDCRpVyClW/mXELkTOlIA9wHKW4jS7broQMwkkpbct",
    "M3Z5QNLD3n8ci95r4m7pDyA=",
);

/// One key of each kind, and the set that tells of them.
struct Keys {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Keys {
            rsa: rsa::KeyPair::from_pkcs8(&STANDARD.decode(RSA).unwrap()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    fn components(&self) -> PublicKeyComponents<Vec<u8>> {
        PublicKeyComponents::from(self.rsa.public())
    }

    fn set(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (rsa, point) = (self.components(), self.ec.public_key().as_ref());
        json!({"keys": [
            {"kty": "oct", "kid": "h", "alg": "HS256", "k": encode(SECRET)},
            {"kty": "RSA", "kid": "r", "alg": "RS256", "n": encode(&rsa.n), "e": encode(&rsa.e)},
            {"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": encode(self.ed.public_key().as_ref())},
        ]})
    }

    fn sign(&self, with: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match with {
            "h" => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed).as_ref().to_vec(),
            "r" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).unwrap();
                signature
            }
            "e" => self.ec.sign(&random, signed).unwrap().as_ref().to_vec(),
            _ => self.ed.sign(signed).as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &Value, with: &str) -> String {
        let signed = unsigned(header, claims);
        let signature = self.sign(with, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn claims() -> Value {
    json!({"exp": 1_000_100, "aud": "rooms", "iss": "issuer", "sub": "ann", "rooms": ["a"]})
}

fn expected() -> Expected {
    Expected { audience: "rooms".into(), issuer: "issuer".into() }
}

#[test]
fn each_algorithm_with_its_own_key_and_no_other() {
    let keys = Keys::new();
    let set = keys::parse(keys.set().to_string().as_bytes()).unwrap();
    let judge = |text: &str| judge(text, &set, &expected(), NOW).map(|claims| claims.user);
    let ann = Ok(Some("ann".into()));
    let all = [("HS256", "h"), ("RS256", "r"), ("ES256", "e"), ("EdDSA", "o")];
    for (algorithm, kid) in all {
        let named = json!({"alg": algorithm, "kid": kid});
        assert_eq!(judge(&keys.token(&named, &claims(), kid)), ann, "{algorithm}");
        assert_eq!(judge(&keys.token(&json!({"alg": algorithm}), &claims(), kid)), ann, "{algorithm}");
        let unknown = json!({"alg": algorithm, "kid": "x"});
        assert_eq!(judge(&keys.token(&unknown, &claims(), kid)), Err(Refused::Key));
        for (_, other) in all.iter().filter(|(_, other)| *other != kid) {
            assert_eq!(judge(&keys.token(&named, &claims(), other)), Err(Refused::Signature), "{algorithm}");
            let wrong = json!({"alg": algorithm, "kid": other});
            assert_eq!(judge(&keys.token(&wrong, &claims(), kid)), Err(Refused::Key), "{algorithm}");
        }
        let good = keys.token(&named, &claims(), kid);
        let (head, signature) = good.rsplit_once('.').unwrap();
        for forged in [
            format!("{head}."),
            format!("{head}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            format!(
                "{}.{signature}",
                unsigned(&named, &json!({"exp": 9e9, "aud": "rooms", "iss": "issuer"}))
            ),
            format!("{}.{signature}", unsigned(&json!({"alg": algorithm, "kid": kid, "x": 1}), &claims())),
        ] {
            assert_eq!(judge(&forged), Err(Refused::Signature), "{algorithm}");
        }
    }
}

#[test]
fn forgeries_and_lapses() {
    let keys = Keys::new();
    let set = keys::parse(keys.set().to_string().as_bytes()).unwrap();
    let judge = |text: &str| judge(text, &set, &expected(), NOW).map(|_| ());
    // No signature at all, in every spelling.
    for none in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"alg": none});
        assert_eq!(judge(&format!("{}.", unsigned(&header, &claims()))), Err(Refused::Algorithm));
        assert_eq!(judge(&keys.token(&header, &claims(), "h")), Err(Refused::Algorithm));
    }
    // The public key taken for a shared secret: every form of it that is known to all.
    let rsa = keys.components();
    let public = [rsa.n.clone(), [rsa.n, rsa.e].concat(), keys.ed.public_key().as_ref().to_vec()];
    for kid in ["r", "o", "h"] {
        let header = json!({"alg": "HS256", "kid": kid});
        let signed = unsigned(&header, &claims());
        for secret in &public {
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
            let why = if kid == "h" { Refused::Signature } else { Refused::Key };
            assert_eq!(judge(&forged), Err(why), "{kid}");
        }
    }
    // A key or a place to get one, brought along: nobody looks.
    let own =
        Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref());
    let own = own.unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(own.public_key().as_ref())});
    for header in [
        json!({"alg": "EdDSA", "jwk": jwk}),
        json!({"alg": "EdDSA", "jku": "http://127.0.0.1:1/keys"}),
        json!({"alg": "EdDSA", "x5u": "http://127.0.0.1:1/chain", "x5c": ["AA"]}),
    ] {
        let signed = unsigned(&header, &claims());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(own.sign(signed.as_bytes()).as_ref()));
        assert_eq!(judge(&forged), Err(Refused::Signature));
    }
    let lapsed = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        judge(&keys.token(&json!({"alg": "ES256"}), &claims, "e"))
    };
    assert_eq!(lapsed("exp", json!(999_969)), Err(Refused::Expired));
    assert_eq!(lapsed("exp", Value::Null), Err(Refused::Malformed));
    assert_eq!(lapsed("nbf", json!(1_000_031)), Err(Refused::NotYet));
    assert_eq!(lapsed("aud", json!("others")), Err(Refused::Audience));
    assert_eq!(lapsed("iss", json!("others")), Err(Refused::Issuer));
    assert_eq!(lapsed("pad", json!("x".repeat(limits::TOKEN_BYTES_MAX))), Err(Refused::TooLong));
    let bare = keys.token(&json!({"alg": "ES256"}), &json!({"sub": "ann"}), "e");
    assert_eq!(judge(&bare), Err(Refused::NoExpiry));
    let critical = keys.token(&json!({"alg": "ES256", "crit": ["b64"], "b64": false}), &claims(), "e");
    assert_eq!(judge(&critical), Err(Refused::Critical));
}

#[test]
fn keys_are_read_again_and_bad_ones_change_nothing() {
    let (keys, others) = (Keys::new(), Keys::new());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(keys.set().to_string().as_bytes()).unwrap();
    let settings =
        TokenSettings { keys: file.path().into(), audience: "rooms".into(), issuer: "issuer".into() };
    let verifier = Verifier::open(&settings).unwrap();
    let mut claims = claims();
    claims["exp"] = json!(9_000_000_000_u64);
    let header = json!({"alg": "EdDSA", "kid": "o"});
    let (old, new) = (keys.token(&header, &claims, "o"), others.token(&header, &claims, "o"));
    assert!(verifier.judge(&old).is_ok());
    assert_eq!(verifier.judge(&new), Err(Refused::Signature));
    let write = |text: &str| {
        std::fs::write(file.path(), text).unwrap();
        // As if the time between two looks had passed.
        verifier.now.lock().look(file.path());
    };
    write("half a fi");
    assert!(verifier.judge(&old).is_ok(), "the old keys stay");
    write(&format!("{} ", others.set()));
    assert!(verifier.judge(&new).is_ok());
    assert_eq!(verifier.judge(&old), Err(Refused::Signature));
    let missing = TokenSettings { keys: "/nonexistent/keys.json".into(), ..settings };
    assert!(Verifier::open(&missing).map(|_| ()).unwrap_err().contains("cannot be read"));
}
