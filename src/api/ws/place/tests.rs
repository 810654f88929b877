use super::*;
use crate::{
    api::validate::Defaults,
    core::{
        rooms::{
            Access, Position,
            route::{Route, Routes},
        },
        spec::{Dial, Spec},
        target::Target,
    },
};
use bytes::Bytes;
use std::time::Duration;

fn spec() -> Arc<Spec> {
    let dial = Dial {
        target: Target::parse("ws://a/ws").unwrap(),
        headers: Vec::new(),
        subprotocols: Vec::new(),
        tls: None,
        source_ip: None,
        timeout: Duration::ZERO,
    };
    let settings = Defaults::default().settings;
    Arc::new(Spec { dial, settings, source: Bytes::new(), has_secrets: false })
}

fn open() -> Pass {
    Pass { reach: Access::Any, may_join: Access::Any, ..Pass::default() }
}

fn only(names: &[&str]) -> Access {
    Access::Only(names.iter().map(|name| Box::from(*name)).collect())
}

fn room(name: &str) -> RoomName {
    RoomName::parse("room", name).unwrap()
}

/// By one route, with what the client offers: the connection, or the status.
fn come(route: &str, url: &str, pass: Pass, offered: &[&str]) -> Result<Admit, u16> {
    let routes = Routes::new(Route::parse(route).into_iter().collect());
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let offer = Offer {
        accept: String::new(),
        subprotocols: offered.iter().map(ToString::to_string).collect(),
        bearer: None,
    };
    let mint = || ConnectionId::parse("~minted").unwrap();
    let come = || -> Result<Admit, Refused> {
        let filled = routes.find(path).unwrap().decoded()?;
        let asked = Asked::parse(query)?;
        let wanted = wanted(&filled, &asked)?;
        admit(&filled, &asked, wanted, pass, &offer, spec(), mint)
    };
    come().map_err(|refused| refused.into_response().status().as_u16())
}

fn rooms(admit: &Admit) -> Vec<&str> {
    admit.rooms.iter().map(|entry| entry.room.as_str()).collect()
}

#[test]
fn the_built_in_routes_join_what_the_url_names() {
    let admit = come("", "/ws/lobby?epoch=3&offset=4", open(), &[]).unwrap();
    assert_eq!((admit.id.as_str(), admit.given), ("~minted", false));
    let after = Some(Position { epoch: 3, offset: 4 });
    assert_eq!(admit.rooms, [Entry { room: room("lobby"), after }]);
    assert_eq!(admit.tags, [("room".into(), "lobby".into())]);
    assert_eq!((admit.format, admit.protocol, admit.subprotocol), (Format::Verbatim, false, None));
    assert_eq!((admit.may_join, admit.valid_for), (Access::Any, None));
    assert!(admit.feeds.is_empty() && admit.publish.is_none());
    let several = come("", "/ws?room=a&room=b", open(), &["x", limits::ROOMS_SUBPROTOCOL]).unwrap();
    assert_eq!(rooms(&several), ["a", "b"]);
    assert!(several.tags.is_empty() && several.protocol);
    assert_eq!((several.format, several.subprotocol.as_deref()), (Format::Numbered, Some("wsm.rooms.v1")));
    assert!(come("", "/ws", open(), &[]).unwrap().rooms.is_empty(), "broadcasts alone");
    for bad in ["/ws/a?room=b", "/ws?room=", "/ws/%ff", "/ws/a?epoch=1&offset=1&epoch=2&offset=2"] {
        assert_eq!(come("", bad, open(), &[]).map(|_| ()), Err(400), "{bad}");
    }
}

#[test]
fn a_route_says_what_becomes_of_messages() {
    let admit = come(
        "/ocpp/{station} id={station} messages=publish:ocpp.{station} subprotocols=ocpp1.6 format=binary",
        "/ocpp/CP-1",
        open(),
        &["other", "ocpp1.6", limits::ROOMS_SUBPROTOCOL],
    )
    .unwrap();
    assert_eq!((admit.id.as_str(), admit.given, admit.protocol), ("CP-1", true, false));
    assert_eq!(admit.publish.map(|publish| publish.topic), Some("ocpp.CP-1".into()));
    assert_eq!((admit.format, admit.subprotocol.as_deref()), (Format::Binary, Some("ocpp1.6")));
    let chat = "/chat/{room} messages=room:{room}";
    let admit = come(chat, "/chat/a", open(), &[limits::ROOMS_SUBPROTOCOL]).unwrap();
    assert_eq!((admit.feeds, admit.protocol), (vec![room("a")], false));
    assert!(come("/p/{room} messages=protocol", "/p/a", open(), &[]).unwrap().protocol);
    let ignored = come("/p/{room} messages=ignore", "/p/a", open(), &[limits::ROOMS_SUBPROTOCOL]).unwrap();
    assert!(!ignored.protocol && ignored.format == Format::Numbered);
    assert_eq!(come("/o/{s} id={s}", "/o/a%20b", open(), &[]).map(|_| ()), Err(400));
    assert_eq!(come("/o/{s} messages=publish:{s}", "/o/a%3Fb", open(), &[]).map(|_| ()), Err(400));
}

#[test]
fn credentials_bound_what_the_url_may_name() {
    let token = || Pass {
        user: Some("ann".into()),
        tags: vec![("room".into(), "said".into()), ("tier".into(), "gold".into())],
        valid_for: Some(Duration::from_secs(9)),
        reach: only(&["a", "b-*"]),
        joins: vec![room("a")],
        joins_beside: false,
        may_join: only(&["a", "b-*"]),
    };
    let admit = come("", "/ws/b-1", token(), &[]).unwrap();
    assert_eq!((rooms(&admit), admit.user.as_deref()), (vec!["b-1"], Some("ann")));
    assert_eq!(admit.tags, [("room".into(), "said".into()), ("tier".into(), "gold".into())]);
    assert_eq!(admit.valid_for, Some(Duration::from_secs(9)));
    assert_eq!(rooms(&come("", "/ws", token(), &[]).unwrap()), ["a"], "those of the token");
    for bad in ["/ws/c", "/ws?room=a&room=c", "/ws/b"] {
        assert_eq!(come("", bad, token(), &[]).map(|_| ()), Err(403), "{bad}");
    }
    let fixed = "/live/{x} rooms=news,x-{x}";
    assert_eq!(come(fixed, "/live/1", token(), &[]).map(|_| ()), Err(403));
    let free = Pass { reach: only(&["x-*"]), ..token() };
    assert_eq!(rooms(&come(fixed, "/live/1", free, &[]).unwrap()), ["news", "x-1"], "the operator's own");
    let feeding = "/feed/{x} rooms=news messages=room:in-{x}";
    assert_eq!(come(feeding, "/feed/1", token(), &[]).map(|_| ()), Err(403));
    let beside = || Pass {
        reach: only(&["a", "c"]),
        joins: vec![room("c"), room("a")],
        joins_beside: true,
        ..token()
    };
    let admit = come("", "/ws/a?epoch=1&offset=1", beside(), &[]).unwrap();
    assert_eq!(rooms(&admit), ["a", "c"]);
    assert!(admit.rooms.iter().all(|entry| entry.after.is_some()));
    assert_eq!(come("", "/ws/b-1", beside(), &[]).map(|_| ()), Err(403));
}

#[test]
fn a_connection_has_so_many_rooms_and_tags() {
    let many: Vec<_> = (0..=limits::ROOMS_PER_CONNECTION_MAX).map(|n| room(&n.to_string())).collect();
    let pass = Pass { joins: many, ..open() };
    assert_eq!(come("", "/ws", pass, &[]).map(|_| ()), Err(400));
    let tags = (0..limits::TAGS_MAX).map(|n| (format!("{n:03}").into(), "x".into())).collect();
    let pass = Pass { tags, ..open() };
    assert_eq!(come("", "/ws/a", pass, &[]).map(|_| ()), Err(400));
}
