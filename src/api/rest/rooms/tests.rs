use crate::api::{
    http::{self, HttpSettings},
    testing::{Answer, Running, ask, on_a_shard, rooms::House, start},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const JSON: &str = "content-type: application/json\r\n";

struct Rest {
    house: House,
    running: Running,
}

impl Rest {
    fn start() -> Self {
        let house = House::start();
        let running = start(http::router(&house.service, HttpSettings::default()));
        Rest { house, running }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = if body.is_empty() { "" } else { JSON };
        ask(self.running.address, method, path, headers, body).await
    }

    async fn ok(&self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.json()
    }
}

#[test]
fn every_route_of_rooms() {
    on_a_shard(async {
        let rest = Rest::start();
        rest.house.connect("one", &["lobby"], Some("ann@x"));
        let sent = rest.ok("POST", "/v1/rooms/lobby/messages", r#"{"message":"a"}"#).await;
        assert_eq!(sent["positions"][0]["room"], "lobby");
        let repeated = r#"{"rooms":["lobby"],"data":"AAE="}"#;
        let sent = rest.ok("POST", "/v1/rooms/lobby/messages", repeated).await;
        assert_eq!(sent["positions"][0]["offset"], "2");
        let several = r#"{"rooms":["x","lobby"],"message":"{}","message_id":"t"}"#;
        let sent = rest.ok("POST", "/v1/rooms:send", several).await;
        assert_eq!(sent["positions"].as_array().unwrap().len(), 2);
        rest.ok("POST", "/v1/broadcast", r#"{"message":"all"}"#).await;
        let reached = rest.ok("POST", "/v1/users/ann%40x/messages", r#"{"message":"b"}"#).await;
        assert_eq!(reached["connections"], "1");
        let joined = rest.ok("PUT", "/v1/rooms/den/members/one", "").await;
        assert_eq!(joined["offset"], "4");
        rest.ok("PUT", "/v1/rooms/den/members/one", r#"{"room":"den","id":"one"}"#).await;
        let rooms = rest.ok("GET", "/v1/rooms?prefix=d&pageSize=5", "").await;
        assert_eq!(rooms["rooms"][0]["name"], "den");
        rest.ok("DELETE", "/v1/rooms/den/members/one", "").await;
        let members = rest.ok("GET", "/v1/rooms/lobby/members?pageSize=5", "").await;
        assert_eq!(
            (&members["members"][0]["id"], &members["members"][0]["user"]),
            (&"one".into(), &"ann@x".into())
        );
        let kept = rest.ok("GET", "/v1/rooms/lobby/messages?epoch=1000&offset=1&limit=1", "").await;
        assert_eq!((&kept["messages"][0]["data"], &kept["recovered"]), (&"AAE=".into(), &true.into()));
        let kicked = rest.ok("DELETE", "/v1/users/ann%40x/connections?code=4001&reason=bye", "").await;
        assert_eq!(kicked["disconnected"], "1");
        assert_eq!(rest.house.log().last().unwrap(), "kick ann@x 4001 bye");
        for (field, path, body) in [
            ("rooms", "/v1/rooms/lobby/messages", r#"{"rooms":["lobby","x"],"message":"a"}"#),
            ("message", "/v1/rooms/lobby/messages", "{}"),
            ("rooms", "/v1/rooms:send", r#"{"message":"a"}"#),
            ("user", "/v1/users/a%00/messages", r#"{"message":"a"}"#),
        ] {
            let refused = rest.ask("POST", path, body).await;
            assert_eq!((refused.status, &refused.json()["code"]), (400, &3.into()), "{path} {body}");
            assert!(
                refused.json()["message"].as_str().unwrap().starts_with(&format!("{field}: ")),
                "{}",
                refused.body
            );
        }
        let other = rest.ask("PUT", "/v1/rooms/den/members/one", r#"{"room":"other"}"#).await;
        assert!(other.status == 400 && other.body.contains("room: "), "{}", other.body);
        let absent = rest.ask("PUT", "/v1/rooms/den/members/nobody", "").await;
        assert_eq!((absent.status, &absent.json()["code"]), (404, &5.into()));
    });
}

#[test]
fn any_name_of_a_room_works_in_a_path_and_no_other() {
    on_a_shard(async {
        let rest = Rest::start();
        let longest = "x".repeat(256);
        for (path, name) in [
            ("a%2Fb", "a/b"),
            ("r%C3%A4ume%20%F0%9F%9A%80", "räume 🚀"),
            ("a%3Fb%23c%25d", "a?b#c%d"),
            ("..", ".."),
            ("rooms:send", "rooms:send"),
            (&longest, &longest),
        ] {
            let sent = rest.ok("POST", &format!("/v1/rooms/{path}/messages"), r#"{"message":"a"}"#).await;
            assert_eq!(sent["positions"][0]["room"], name);
            let kept = rest.ok("GET", &format!("/v1/rooms/{path}/messages"), "").await;
            assert_eq!(kept["messages"][0]["text"], "a");
        }
        let too_long = "x".repeat(257);
        rest.house.log();
        for bad in ["%00", "a%00b", "a,b", "a%2Cb", "%0A", "%7F", "%C2%85", "%FF", "a%C3", &too_long] {
            for (method, rest_of) in [
                ("POST", "messages"),
                ("GET", "messages"),
                ("GET", "members"),
                ("PUT", "members/a"),
                ("DELETE", "members/a"),
                ("GET", "events"),
            ] {
                let body = if method == "POST" { r#"{"message":"a"}"# } else { "" };
                let refused = rest.ask(method, &format!("/v1/rooms/{bad}/{rest_of}"), body).await;
                assert_eq!(refused.status, 400, "{method} {bad} {rest_of}: {}", refused.body);
                let refused = refused.json();
                assert_eq!(refused["code"], 3);
                assert_eq!(refused["details"][1]["fieldViolations"][0]["field"], "room", "{refused}");
            }
        }
        assert_eq!(rest.house.log(), [""; 0]);
    });
}

/// What comes until this stands in it.
async fn until(tcp: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    while !text.contains(what) {
        let mut bytes = [0; 4096];
        let count = tcp.read(&mut bytes).await.unwrap();
        assert!(count > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

#[test]
fn a_rooms_events_go_on_from_the_last_event_id() {
    on_a_shard(async {
        let rest = Rest::start();
        let open = async |headers: &str| {
            let mut tcp = TcpStream::connect(rest.running.address).await.unwrap();
            let request = format!("GET /v1/rooms/a%2Fb/events HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
            tcp.write_all(request.as_bytes()).await.unwrap();
            tcp
        };
        let mut first = open("").await;
        until(&mut first, "text/event-stream").await;
        rest.house.state.lock().add("a/b", "one");
        let event = until(&mut first, "\n\n").await;
        assert!(event.contains("event: message\n") && event.contains(r#""room":"a/b""#), "{event}");
        let id = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
        drop(first);
        rest.house.state.lock().add("a/b", "two");
        let mut again = open(&format!("last-event-id: {id}\r\n")).await;
        let event = until(&mut again, r#""text":"two""#).await;
        assert!(!event.contains(r#""text":"one""#), "{event}");
    });
}
