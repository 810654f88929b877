use super::*;

fn route(text: &str) -> RestRoute {
    RestRoute::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
}

#[test]
fn a_route_says_where_a_body_goes() {
    let all = route(
        "POST  /chat/{room}/message room=chat-{room}  message-id=chat.message topic=chat.in wait=500ms",
    );
    assert_eq!(&*all.method, "POST");
    assert_eq!(all.path.matches("/chat/a/message"), Some(vec![("room", "a")]));
    assert_eq!(all.room.expect("a room").fill(|_| Some("a".into())), Ok("chat-a".into()));
    assert_eq!(all.topic.expect("a topic").as_str(), "chat.in");
    assert_eq!(all.message_id.as_deref(), Some("chat.message"));
    assert_eq!(all.wait, Duration::from_millis(500));
    let least = route("PUT /news room=news");
    assert_eq!((least.topic, least.message_id, least.wait), (None, None, REST_ROUTE_WAIT_DEFAULT));
    assert!(route("PATCH /orders/{order_id} topic=orders").room.is_none());
}

#[test]
fn a_bad_route_says_what_is_wrong() {
    for (text, why) in [
        ("", "does not begin with one of POST, PUT, PATCH"),
        ("GET /a room=a", "does not begin with one of"),
        ("POST", "has no path"),
        ("POST a room=a", "has a path that must begin with '/'"),
        ("POST /v1/chat room=a", "has a path below /v1, which the service answers itself"),
        ("POST /ws/{room} room={room}", "has a path below /ws,"),
        ("POST /health room=a", "has a path below /health,"),
        ("POST /virtufin.WebSocketManager/Send room=a", "has a path below /virtufin."),
        ("POST /{any}/x room=a", "has a path whose first segment is a variable"),
        ("POST /a", "has neither room= nor topic="),
        ("POST /a room=a room=b", "has room= twice"),
        ("POST /a room=", "has room= without a value"),
        ("POST /a room", "has room= without a value"),
        ("POST /a rooom=a", "holds a word that is none of room=, topic=, message-id=, wait="),
        ("POST /a room=my room", "has room= without a value"),
        ("POST /a room=a b", "holds a word that is none of"),
        ("POST /a room=a,b", "has a room= that cannot be"),
        ("POST /a/{b} room={c}", "has {c} in its room=, but the path has {b}"),
        ("POST /a room={c}", "has {c} in its room=, but the path has none"),
        ("POST /a room={", "has a room= that has a '{' without its '}'"),
        ("POST /a/{b} topic=x-{b}", "has a topic= with braces"),
        ("POST /a topic=a/../b", "has a topic= that cannot be"),
        ("POST /a room=a message-id=a/b", "has a message-id= that must be"),
        ("POST /a room=a wait=0s", "has a wait= that is no duration"),
        ("POST /a room=a wait=1h", "has a wait= that is no duration"),
        ("POST /a room=a wait=31s", "has a wait= that is no duration"),
        ("POST /a/{id} topic=t", "has a variable {id} that would hide an attribute of the event"),
        ("POST /a/{a_b}/{ab} topic=t", "has a variable {ab} that would hide"),
        ("POST /a/{data_base64} topic=t", "has a variable {data_base64} that would hide"),
    ] {
        let told = RestRoute::parse(text).expect_err(text);
        assert!(told.starts_with(why), "{text}: {told}");
    }
    // Only an event has attributes.
    route("POST /a/{id} room=a-{id}");
}

#[test]
fn the_same_requests_cannot_go_two_ways() {
    assert!(route("POST /a/{b} room=x").hides(&route("POST /a/{c} topic=y")));
    assert!(!route("POST /a/{b} room=x").hides(&route("PUT /a/{b} room=x")));
    assert!(!route("POST /a/{b} room=x").hides(&route("POST /a/b room=x")));
}

#[test]
fn a_binding_names_its_room_by_pointers() {
    let bound =
        Binding::parse("topic=orders room=user-{/user_id}-{/a~1b/0} message-id=order.updated").unwrap();
    assert_eq!(bound.topic.as_str(), "orders");
    assert_eq!(bound.room.places().collect::<Vec<_>>(), ["/user_id", "/a~1b/0"]);
    assert_eq!(bound.message_id.as_deref(), Some("order.updated"));
    assert_eq!(Binding::parse("room=all topic=t").unwrap().message_id, None);
}

#[test]
fn a_bad_binding_says_what_is_wrong() {
    for (text, why) in [
        ("", "has no topic="),
        ("topic=a", "has no room="),
        ("room=a", "has no topic="),
        ("topic=a room=x-{id}", "has {id} in its room=, which is no JSON pointer; write {/id}"),
        ("topic=a room=x-{/a~}", "has {/a~} in its room=, which may use '~' only"),
        ("topic=a room=x,y", "has a room= that cannot be"),
        ("topic=a* room=x", "has a topic= that cannot be"),
        ("topic=a room=x wait=1s", "holds a word that is none of topic=, room=, message-id="),
        ("topic=a room=x message-id=", "has message-id= without a value"),
    ] {
        let told = Binding::parse(text).expect_err(text);
        assert!(told.starts_with(why), "{text}: {told}");
    }
}

#[test]
fn attributes_are_small_letters_and_digits() {
    assert_eq!(attribute("room_id"), "roomid");
    assert_eq!(attribute("a1"), "a1");
}
