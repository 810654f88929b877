use super::*;
use serde_json::json;

const NOW: Duration = Duration::from_secs(1_000_000);

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Its signature is nobody's: nothing here looks at it.
fn token(header: &Value, claims: &Value) -> String {
    format!("{}.{}.{}", encode(header), encode(claims), URL_SAFE_NO_PAD.encode("signature"))
}

fn good() -> Value {
    json!({"exp": 1_000_100, "nbf": 999_000, "aud": "rooms", "iss": "https://issuer.example", "sub": "ann",
        "rooms": ["a", "b-*"], "tags": {"tier": "gold", "app": "x"}})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn judge(payload: &Value) -> Result<Claims, Refused> {
    let text = token(&json!({"alg": "ES256"}), payload);
    let expected = Expected { audience: "rooms".into(), issuer: "https://issuer.example".into() };
    claims(&parse(&text).unwrap(), &expected, NOW)
}

#[test]
fn a_token_is_taken_apart_strictly() {
    let text =
        token(&json!({"alg": "ES256", "kid": "k1", "jku": "https://evil.example", "typ": "JWT"}), &good());
    let parsed = parse(&text).unwrap();
    assert_eq!((parsed.algorithm, parsed.kid.as_deref()), (Algorithm::Es256, Some("k1")));
    assert_eq!(parsed.signature, b"signature");
    assert_eq!(parsed.signed, text.rsplit_once('.').unwrap().0.as_bytes());
    for (header, why) in [
        (json!({"alg": "none"}), Refused::Algorithm),
        (json!({"alg": "None"}), Refused::Algorithm),
        (json!({"alg": "es256"}), Refused::Algorithm),
        (json!({"alg": "HS512"}), Refused::Algorithm),
        (json!({"alg": ""}), Refused::Algorithm),
        (json!({"alg": 1}), Refused::Malformed),
        (json!({}), Refused::Malformed),
        (json!([]), Refused::Malformed),
        (json!({"alg": "ES256", "kid": 1}), Refused::Malformed),
        (json!({"alg": "ES256", "crit": ["exp"]}), Refused::Critical),
    ] {
        assert_eq!(parse(&token(&header, &good())).map(|_| ()), Err(why), "{header}");
    }
    let long = "x".repeat(limits::TOKEN_BYTES_MAX);
    assert_eq!(parse(&format!("{text}{long}")).map(|_| ()), Err(Refused::TooLong));
    for bad in ["", ".", "..", "a.b", "a.b.c.d", &format!("{text}="), &text.replace('.', ". "), "é.é.é"] {
        assert_eq!(parse(bad).map(|_| ()), Err(Refused::Malformed), "{bad}");
    }
}

#[test]
fn claims_are_all_there_and_all_right() {
    let claims = judge(&good()).unwrap();
    assert_eq!(claims.user.as_deref(), Some("ann"));
    assert_eq!(claims.rooms.iter().map(|room| &**room).collect::<Vec<_>>(), ["a", "b-*"]);
    let tags: Vec<_> = claims.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(tags, [("app", "x"), ("tier", "gold")]);
    assert_eq!(claims.valid_for, Duration::from_secs(100) + LEEWAY);
    let bare = json!({"exp": 1_000_100.5, "aud": ["other", "rooms"], "iss": "https://issuer.example"});
    assert_eq!(judge(&bare).map(|claims| (claims.user, claims.rooms.len())), Ok((None, 0)));
    assert_eq!(
        judge(&with("exp", json!(999_971))).map(|claims| claims.valid_for),
        Ok(Duration::from_secs(1))
    );
    assert!(judge(&with("nbf", json!(1_000_030))).is_ok() && judge(&with("exp", json!(1e300))).is_ok());
    for (claims, why) in [
        (without("exp"), Refused::NoExpiry),
        (with("exp", json!("1000100")), Refused::Malformed),
        (with("exp", json!(-1)), Refused::Malformed),
        (with("exp", json!(null)), Refused::Malformed),
        (with("exp", json!(999_970)), Refused::Expired),
        (with("nbf", json!(1_000_031)), Refused::NotYet),
        (with("nbf", json!([])), Refused::Malformed),
        (without("aud"), Refused::Audience),
        (with("aud", json!("room")), Refused::Audience),
        (with("aud", json!("Rooms")), Refused::Audience),
        (with("aud", json!([])), Refused::Audience),
        (with("aud", json!({"rooms": 1})), Refused::Audience),
        (without("iss"), Refused::Issuer),
        (with("iss", json!("https://issuer.example/")), Refused::Issuer),
        (with("iss", json!(["https://issuer.example"])), Refused::Issuer),
        (with("sub", json!(7)), Refused::Claims),
        (with("sub", json!("")), Refused::Claims),
        (with("sub", json!("a\nb")), Refused::Claims),
        (with("sub", json!("x".repeat(limits::USER_BYTES_MAX + 1))), Refused::Claims),
        (with("rooms", json!("a")), Refused::Claims),
        (with("rooms", json!([1])), Refused::Claims),
        (with("rooms", json!([""])), Refused::Claims),
        (with("rooms", json!(["a,b"])), Refused::Claims),
        (with("rooms", json!(vec!["a"; limits::CREDENTIAL_ROOMS_MAX + 1])), Refused::Claims),
        (with("tags", json!([])), Refused::Claims),
        (with("tags", json!({"a": 1})), Refused::Claims),
        (json!([]), Refused::Malformed),
    ] {
        assert_eq!(judge(&claims), Err(why), "{claims}");
    }
}

#[test]
fn a_key_is_for_one_algorithm_and_a_kid_only_selects() {
    let (x, n) = (URL_SAFE_NO_PAD.encode([7; 32]), URL_SAFE_NO_PAD.encode([7; 256]));
    let set = json!({"keys": [
        {"kty": "oct", "k": x, "kid": "h"},
        {"kty": "RSA", "n": n, "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"},
        {"kty": "EC", "crv": "P-256", "x": x, "y": x, "kid": "e"},
        {"kty": "OKP", "crv": "Ed25519", "x": x},
    ]});
    let keys = keys::parse(set.to_string().as_bytes()).unwrap();
    let found = |header: Value| {
        let text = token(&header, &good());
        parse(&text).unwrap().candidates(&keys).into_iter().map(Key::algorithm).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({"alg": "RS256", "kid": "r"})), [Algorithm::Rs256]);
    assert_eq!(found(json!({"alg": "RS256"})), [Algorithm::Rs256]);
    assert_eq!(found(json!({"alg": "HS256", "kid": "r"})), [], "a public key is no secret");
    assert_eq!(found(json!({"alg": "RS256", "kid": "h"})), []);
    assert_eq!(found(json!({"alg": "EdDSA", "kid": "h"})), [], "a kid selects, it does not excuse");
    assert_eq!(found(json!({"alg": "EdDSA"})), [Algorithm::EdDsa]);
    assert!(!format!("{keys:?}").contains("7, 7"), "no key is ever shown");
}

#[test]
fn bad_key_sets_say_which_key_and_why() {
    let x = URL_SAFE_NO_PAD.encode([7; 32]);
    let bad = |text: &str, part: &str| {
        let told = keys::parse(text.as_bytes()).unwrap_err();
        assert!(told.contains(part), "{text}: {told}");
        assert!(!told.contains(&x), "{told}");
    };
    bad("x", "is not JSON");
    bad("[]", "is no JSON web key set");
    bad(r#"{"keys": []}"#, "must hold 1 to 64 keys");
    let one = |key: Value, part: &str| bad(&json!({"keys": [key]}).to_string(), part);
    one(json!(7), "keys[0]: is no object");
    one(json!({"k": x}), "keys[0]: kty is missing");
    one(json!({"kty": "oct"}), "k is missing");
    one(json!({"kty": "oct", "k": "ab=="}), "k is not base64url");
    one(json!({"kty": "oct", "k": "YWJj"}), "k has 3 bytes; a secret for HS256 has at least 32");
    one(json!({"kty": "oct", "k": x, "alg": "RS256"}), "its alg does not go with its kty");
    one(json!({"kty": "oct", "k": x, "alg": "none"}), "its alg does not go with its kty");
    one(json!({"kty": "oct", "k": x, "use": "enc"}), "its use is not sig");
    one(json!({"kty": "RSA", "n": x, "e": "AQAB"}), "an RSA key has 2048 to 8192");
    one(json!({"kty": "EC", "crv": "P-384", "x": x, "y": x}), "is of no kind that is accepted");
    one(json!({"kty": "EC", "crv": "P-256", "x": x, "y": "AQ"}), "32 bytes each");
    one(json!({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}), "x must have 32 bytes");
    let twice = json!({"keys": [{"kty": "oct", "k": x, "kid": "a"}, {"kty": "oct", "k": x, "kid": "a"}]});
    bad(&twice.to_string(), "keys[1]: its kid is that of another key");
}
