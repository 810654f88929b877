use super::*;

fn routes(texts: &[&str]) -> Routes {
    Routes::new(texts.iter().map(|text| Route::parse(text).unwrap()).collect())
}

fn rooms(routes: &Routes, path: &str) -> Option<Vec<(String, bool)>> {
    let rooms = routes.find(path).unwrap().decoded().unwrap().rooms().unwrap();
    rooms.map(|rooms| rooms.into_iter().map(|(room, asked)| (room.to_string(), asked)).collect())
}

#[track_caller]
fn bad(text: &str, part: &str) {
    let told = Route::parse(text).unwrap_err();
    assert!(told.contains(part), "{text}: {told}");
}

#[test]
fn the_built_in_routes() {
    let routes = Routes::default();
    assert_eq!(rooms(&routes, "/ws/lobby"), Some(vec![("lobby".into(), true)]));
    assert_eq!(rooms(&routes, "/ws/a%20%C3%A4%2Fb"), Some(vec![("a ä/b".into(), true)]));
    assert_eq!(rooms(&routes, "/ws"), None, "the query names them");
    assert!(routes.find("/").is_none() && routes.find("").is_none() && routes.find("/ws/a/b").is_none());
    assert!(routes.find("/wss/a").is_none() && routes.find("/WS/a").is_none());
    assert!(routes.find("/%77s/a").is_some(), "the same path");
    let fault = |path: &str| {
        let found = routes.find(path).unwrap();
        found.decoded().and_then(|filled| filled.rooms()).unwrap_err().to_string()
    };
    assert_eq!(fault("/ws/"), "room: must not be empty in the URL's path");
    assert_eq!(fault("/ws/%ff"), "room: is not percent-encoded UTF-8");
    assert_eq!(fault("/ws/%4"), "room: is not percent-encoded UTF-8");
    assert_eq!(fault("/ws/a%00"), "room: must not hold control characters");
    assert_eq!(fault("/ws/a,b"), "room: a room name must not hold control characters or commas");
    assert!(fault(&format!("/ws/{}", "x".repeat(257))).starts_with("room: a room name has 1 to 256"));
}

#[test]
fn a_given_route_says_everything() {
    let text = "/ocpp/{tenant}/{station} id={tenant}.{station} rooms=lobby,t-{tenant} \
                messages=publish:ocpp.{tenant} subprotocols=ocpp1.6,ocpp2.0.1 format=binary auth=token \
                origin=https://a.example,http://b";
    let route = Route::parse(text).unwrap();
    assert_eq!(route.subprotocols.iter().map(|name| &**name).collect::<Vec<_>>(), ["ocpp1.6", "ocpp2.0.1"]);
    assert_eq!((route.format, route.auth), (Format::Binary, Some(Auth::Token)));
    assert!(matches!(&route.origins, Some(Origins::Listed(list)) if list.len() == 2));
    let routes = Routes::new(vec![route]);
    let filled = routes.find("/ocpp/acme/CP-1").unwrap().decoded().unwrap();
    assert_eq!(filled.id().unwrap().unwrap().as_str(), "acme.CP-1");
    let named = filled.rooms().unwrap().unwrap();
    assert_eq!(
        named.iter().map(|room| (room.0.as_str(), room.1)).collect::<Vec<_>>(),
        [("lobby", false), ("t-acme", true)]
    );
    let Inbound::Publish(topic) = &filled.route.inbound else { panic!("{:?}", filled.route.inbound) };
    assert_eq!(filled.topic(topic).unwrap().as_str(), "ocpp.acme");
    assert_eq!(filled.variables().collect::<Vec<_>>(), [("tenant", "acme"), ("station", "CP-1")]);
    let odd = routes.find("/ocpp/a%3Fb/c%2F").unwrap().decoded().unwrap();
    assert!(odd.id().unwrap_err().to_string().starts_with("tenant: may hold only letters"));
    assert!(odd.topic(topic).unwrap_err().to_string().starts_with("tenant: a topic must not hold"));
}

#[test]
fn the_most_exact_route_wins_in_whatever_order() {
    for texts in [["/a/{x}/c", "/a/b/{y}"], ["/a/b/{y}", "/a/{x}/c"]] {
        let routes = routes(&texts);
        assert_eq!(&*routes.find("/a/b/c").unwrap().route.path, "/a/b/{y}");
        assert_eq!(&*routes.find("/a/z/c").unwrap().route.path, "/a/{x}/c");
    }
    let replaced = routes(&["/ws/{name} rooms=all,{name} messages=protocol"]);
    assert_eq!(replaced.iter().count(), 2);
    assert_eq!(rooms(&replaced, "/ws/b").map(|rooms| rooms.len()), Some(2));
    assert_eq!(rooms(&replaced, "/ws/all"), Some(vec![("all".into(), false)]), "named twice, joined once");
    let route = |text| Route::parse(text).unwrap();
    assert!(route("/a/{x}").same_path(&route("/a/{y}")) && !route("/a/{x}").same_path(&route("/a/b")));
    assert_eq!(route("/live").rooms, None);
    assert_eq!(route("/live rooms=news").rooms.map(|rooms| rooms.len()), Some(1));
}

#[test]
fn bad_routes_say_what_is_wrong_and_the_way_out() {
    bad("", "must begin with a path such as /chat/ws/{room}");
    bad("chat/{room}", "must begin with a path");
    bad("/chat//{room}", "empty part");
    bad("/chat/", "empty part");
    bad("/chat/pre{room}", "one {variable} as a whole");
    bad("/chat/%41", "a part is a word");
    bad("/chat/..", "cannot be a part");
    bad("/chat?x=1", "cannot be a part");
    bad("/chat/{}", "no variable");
    bad("/chat/{1a}", "no variable");
    bad("/chat/{a}/{a}", "stands twice");
    bad("/v1/{room}", "begins with /v1, which is taken");
    bad("/virtufin.Rooms/x", "is taken");
    bad("/a rooms", "'rooms' is not key=value; keys are id");
    bad("/a rooms=", "is not key=value");
    bad("/a colour=red", "colour is not known; keys are id");
    bad("/a rooms=b rooms=c", "rooms is given twice");
    bad("/a rooms={b}", "rooms: {b} is no variable of the path");
    bad("/a rooms=b,", "rooms: '' is empty");
    bad("/a rooms=b}", "rooms: 'b}' has a '}' without its '{'");
    bad("/a/{b} rooms={b", "rooms: '{b' has a '{' without its '}'");
    bad("/a id=a/b", "id: 'a/b': may hold only letters");
    bad("/a id=~x", "must not begin with '~'");
    bad("/a messages=drop", "messages must be ignore, protocol, publish:TOPIC or room:NAME");
    bad("/a messages=publish:a?b", "messages: 'a?b': a topic must not hold");
    bad("/a messages=room:", "messages: '' is empty");
    bad("/a subprotocols=a,,b", "subprotocols[1]: must be a token");
    bad("/a format=json", "format must be verbatim or binary");
    bad("/a auth=yes", "auth must be open, token or authoriser");
    bad("/a origin=example.com", "origin 'example.com' is none; give scheme://host[:port]");
}
