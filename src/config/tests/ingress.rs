//! Routes, rules for rooms, and who comes in.

use super::*;
use crate::core::{
    origin::Origins,
    rooms::{RoomName, Slow, route::Auth},
};

#[test]
fn routes_and_rules_from_every_source() {
    let plain = good(&[], &env(&[]));
    assert!(plain.ingress.routes.is_empty() && plain.rooms.rules.rules.is_empty());
    assert_eq!((plain.ingress.auth, &plain.ingress.origins), (Auth::Open, &Origins::Own));
    assert_eq!(plain.rooms.rules.history.messages, 1000);
    let flags = ["--route", "/a/{room} messages=protocol", "--route", "/b rooms=x,y; /c"];
    let paths =
        |config: &Config| config.ingress.routes.iter().map(|it| it.path.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(&good(&flags, &env(&[]))), ["/a/{room}", "/b", "/c"]);
    assert_eq!(paths(&good(&[], &env(&[("WSM_ROUTE", "/a rooms=x,y;/b")]))), ["/a", "/b"]);
    let kept = file(
        "route = ['/a', '/b/{x} rooms=x-{x}']\nroom_rule = 'ticks-* history=age:1m'\nroom_history_bytes = 7",
    );
    let config = good(&["--config", at(&kept), "--room-rule", "a slow=drop_oldest;b slow=close"], &env(&[]));
    assert_eq!(paths(&config), ["/a", "/b/{x}"]);
    let room = |name| RoomName::parse("room", name).unwrap();
    assert_eq!(config.rooms.rules.slow(&room("a")), Slow::DropOldest);
    assert_eq!(config.rooms.rules.history(&room("ticks-1")).bytes, 7, "a flag replaces the file's rules");
    let config = good(&["--config", at(&kept)], &env(&[]));
    let history = config.rooms.rules.history(&room("ticks-1"));
    assert_eq!((history.age, history.bytes, history.messages), (Duration::from_secs(60), 7, 1000));
    let again = file(&config.report());
    assert_eq!(paths(&good(&["--config", at(&again)], &env(&[]))), ["/a", "/b/{x}"]);
    let listed = good(&["--ws-origin", "https://a.example:443"], &env(&[])).ingress.origins;
    assert!(listed.admit(Some(b"https://a.example"), None) && !listed.admit(Some(b"http://a.example"), None));
}

#[test]
fn every_bad_route_and_rule_is_told_at_once() {
    let problems = bad(
        &["--route", "/v1/x", "--route", "/a colour=red; /b; /c/{d}/{d}", "--room-rule", "a slow=no"],
        &env(&[]),
    );
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(
        problems[0].contains("route = '/v1/x' (flag --route) is wrong: its path begins with /v1"),
        "{problems:#?}"
    );
    assert!(problems[1].contains("'/a colour=red': colour is not known"), "{problems:#?}");
    assert!(problems[1].contains("'/c/{d}/{d}': the variable {d} stands twice"), "{problems:#?}");
    assert!(problems[2].contains("slow must be close"), "{problems:#?}");
    let twice = one_problem(&["--route", "/a/{b}", "--route", "/a/{c} messages=protocol"], &env(&[]));
    assert!(twice.contains("route = '/a/{c}' (flag --route) has the same path as '/a/{b}'"), "{twice}");
}

#[test]
fn credentials_need_what_they_are_checked_with() {
    let secret = "A".repeat(43);
    let keys = file(&format!(r#"{{"keys": [{{"kty": "oct", "k": "{secret}"}}]}}"#));
    let token = ["--token-keys", at(&keys), "--token-audience", "a", "--token-issuer", "i"];
    let with = |more: &[&'static str]| [&token[..], more].concat();
    let config = good(&with(&["--ws-auth", "token"]), &env(&[]));
    let token_of = config.ingress.token.as_ref().unwrap();
    assert_eq!((token_of.audience.as_str(), token_of.issuer.as_str()), ("a", "i"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(good(&token, &env(&[])).warnings[0].contains("no route asks for tokens"));
    good(&with(&["--route", "/a auth=token"]), &env(&[]));

    let missing = one_problem(&["--ws-auth", "token"], &env(&[]));
    assert!(missing.contains("tokens need --token-keys, --token-audience, --token-issuer too"), "{missing}");
    let missing = one_problem(&["--route", "/a auth=token"], &env(&[]));
    assert!(missing.starts_with("route '/a' (flag --route): tokens need"), "{missing}");
    let missing = bad(&token[..4], &env(&[])).join("\n");
    assert!(missing.contains("--token-issuer too"), "{missing}");
    let broken = file("{}");
    let told = one_problem(
        &["--ws-auth=token", "--token-audience=a", "--token-issuer=i", "--token-keys", at(&broken)],
        &env(&[]),
    );
    assert!(told.contains("is no JSON web key set"), "{told}");

    let missing = one_problem(&["--ws-auth=authoriser"], &env(&[]));
    assert!(missing.contains("give --ws-authoriser"), "{missing}");
    let asked = good(&["--ws-auth=authoriser", "--ws-authoriser=http://127.0.0.1:1/a?key=hidden"], &env(&[]));
    assert_eq!(asked.ingress.authoriser_timeout, Duration::from_secs(2));
    assert!(!asked.report().contains("hidden"));
    let wrong = one_problem(&["--ws-auth=authoriser", "--ws-authoriser=ftp://hidden"], &env(&[]));
    assert!(wrong.contains("neither http nor https") && !wrong.contains("hidden"), "{wrong}");
}
