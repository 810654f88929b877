use super::*;
use crate::{
    core::{
        publish::batch::{Batch, PublishError},
        rooms::Position,
    },
    ports::{BackendError, Done, Pending, TopicChunk, TopicFrom},
};
use http_body_util::BodyExt;
use parking_lot::Mutex;

/// Takes everything, or answers as it is told.
#[derive(Default)]
struct Far {
    posts: Mutex<Vec<(String, String)>>,
    events: Mutex<Vec<Value>>,
    room_says: Mutex<Option<FaultKind>>,
    bus_says: Mutex<Option<PublishError>>,
    silent: Mutex<bool>,
}

impl Poster for Far {
    fn post(&self, rooms: Vec<RoomName>, post: Post) -> Pending<Result<Vec<Place>, Fault>> {
        if *self.silent.lock() {
            return Box::pin(std::future::pending());
        }
        if let Some(kind) = *self.room_says.lock() {
            return Box::pin(std::future::ready(Err(Fault::new(kind, "as told"))));
        }
        self.posts.lock().push((rooms[0].to_string(), String::from_utf8_lossy(&post.payload).into_owned()));
        let at = Position { epoch: 1_700_000_000_000, offset: 7 };
        let places = rooms.into_iter().map(|room| Place { room, at }).collect();
        Box::pin(std::future::ready(Ok(places)))
    }
}

impl Bus for Far {
    fn publish(&self, batch: Arc<Batch>, done: Done<Result<(), PublishError>>) {
        if let Some(error) = self.bus_says.lock().clone() {
            return done.complete(Err(error));
        }
        for event in &batch.events {
            assert!(event.relaxed);
            let mut value: Value = serde_json::from_slice(&batch.bytes[event.range.clone()]).expect("JSON");
            value["topic"] = (*event.topic).into();
            self.events.lock().push(value);
        }
        done.complete(Ok(()));
    }
    fn fetch(&self, _: &str, _: TopicFrom, _: usize, _: Done<Result<TopicChunk, BackendError>>) {}
}

struct NoWord;

impl Check for NoWord {
    fn check(&self, payload: &[u8]) -> Result<(), Fault> {
        match String::from_utf8_lossy(payload).contains("forbidden") {
            true => Err(Fault::invalid("message/text", "holds the word (schema chat.message)")),
            false => Ok(()),
        }
    }
}

fn entries(far: &Arc<Far>, routes: &[&str]) -> Entries {
    let routes = routes.iter().map(|text| RestRoute::parse(text).expect("a route")).collect();
    let check: Option<Arc<dyn Check>> = Some(Arc::new(NoWord));
    let (poster, bus) = (far.clone(), far.clone());
    Entries::new(Parts { routes, poster, bus, check, run: 1, counters: Arc::default() })
}

async fn ask(entries: &Entries, method: &str, target: &str, media: &str, body: &str) -> Option<(u16, Value)> {
    let request = Request::builder().method(method).uri(target).header("content-type", media);
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    let entry = entries.find(request.method(), request.uri().path())?;
    let response = entry.answer(request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    Some((status, serde_json::from_slice(&bytes).expect("JSON")))
}

async fn post(entries: &Entries, target: &str, body: &str) -> (u16, Value) {
    ask(entries, "POST", target, "application/json", body).await.expect("a route")
}

const BOTH: &str = "POST /chat/{room}/message room=chat-{room} message-id=chat.message topic=chat.in";

#[tokio::test]
async fn a_body_goes_to_its_topic_and_its_room() {
    let far: Arc<Far> = Arc::default();
    let entries = entries(&far, &[BOTH]);
    let (status, answer) = post(&entries, "/chat/caf%C3%A9/message", " {\"text\": 1e2}\n").await;
    let positions = json!([{"room": "chat-café", "epoch": "1700000000000", "offset": "7"}]);
    assert_eq!((status, answer), (200, json!({"positions": positions})));
    let posts = far.posts.lock().clone();
    assert_eq!(
        posts,
        [("chat-café".to_owned(), r#"{"MESSAGE_ID":"chat.message","message":{"text": 1e2}}"#.to_owned())]
    );
    let event = far.events.lock()[0].clone();
    assert_eq!(event["type"], TYPE_REQUEST);
    assert_eq!(event["topic"], "chat.in");
    assert_eq!((&event["subject"], &event["room"]), (&json!("chat-café"), &json!("chat-café")));
    assert_eq!((&event["messageid"], &event["data"]), (&json!("chat.message"), &json!({"text": 100.0})));
    assert_eq!(entries.0.counters.rest_taken.get(), 1);
}

#[tokio::test]
async fn a_topic_alone_is_202_and_a_room_alone_takes_the_body_as_it_is() {
    let far: Arc<Far> = Arc::default();
    let entries = entries(&far, &["PUT /orders/{order_id} topic=orders", "POST /news room=news"]);
    let answer = ask(&entries, "PUT", "/orders/7%2f8", "application/cloudevents+json", "[1]").await;
    assert_eq!(answer, Some((202, json!({}))));
    let event = far.events.lock()[0].clone();
    assert_eq!((&event["orderid"], &event["data"], event.get("subject")), (&json!("7/8"), &json!([1]), None));
    assert_eq!(post(&entries, "/news", "\"x\"").await.0, 200);
    assert_eq!(far.posts.lock().clone(), [("news".to_owned(), "\"x\"".to_owned())]);
}

#[tokio::test]
async fn paths_are_told_apart() {
    let far: Arc<Far> = Arc::default();
    let entries = entries(&far, &["POST /a/{b} room=one", "PUT /a/{b} room=two", "POST /a/b room=three"]);
    for path in ["/", "/a", "/a/", "/a/b/c", "/v1/connections"] {
        assert!(entries.find(&Method::POST, path).is_none(), "{path}");
    }
    // The first that fits.
    assert_eq!(post(&entries, "/a/b", "1").await.1["positions"][0]["room"], "one");
    let request = Request::builder().uri("/a/b").body(Body::empty()).expect("a request");
    let entry = entries.find(&Method::GET, "/a/b").expect("the path is known");
    let response = entry.answer(request).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &HeaderValue::from_static("POST, PUT"))
    );
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong_and_go_nowhere() {
    let far: Arc<Far> = Arc::default();
    let entries = entries(&far, &[BOTH]);
    let long = format!("/chat/{}/message", "x".repeat(300));
    for (target, body, part) in [
        ("/chat/a/message", "", "body: is not JSON"),
        ("/chat/a/message", "{\"a\":", "body: is not JSON"),
        ("/chat/a/message", "{\"text\":\"forbidden\"}", "message/text: holds the word (schema chat.message)"),
        ("/chat/a/message?x=1", "{}", "query: this route takes none"),
        ("/chat/%00/message", "{}", "room: must not hold control characters"),
        ("/chat/%FF/message", "{}", "room: is not UTF-8"),
        ("/chat/a,b/message", "{}", "room: a room name must not hold"),
        (&long, "{}", "room: a room name has 1 to 256 bytes"),
    ] {
        let (status, answer) = post(&entries, target, body).await;
        let message = answer["message"].as_str().expect("a message");
        assert!(status == 400 && message.starts_with(part), "{target} {body}: {status} {message}");
    }
    let media = ask(&entries, "POST", "/chat/a/message", "text/plain", "{}").await;
    assert_eq!(media.map(|answer| answer.0), Some(415));
    assert!(far.posts.lock().is_empty() && far.events.lock().is_empty());
    assert_eq!(entries.0.counters.rest_refused.get(), 9);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_take_it_is_named() {
    let far: Arc<Far> = Arc::default();
    let entries = entries(&far, &[BOTH]);
    let told = |answer: (u16, Value)| (answer.0, answer.1["message"].as_str().unwrap_or_default().to_owned());
    *far.bus_says.lock() = Some(PublishError::Retry);
    let (status, message) = told(post(&entries, "/chat/a/message", "{}").await);
    assert!(status == 504 && message.contains("topic chat.in did not take it"), "{status} {message}");
    *far.bus_says.lock() = Some(PublishError::Refused(vec![0]));
    let (status, message) = told(post(&entries, "/chat/a/message", "{}").await);
    assert!(status == 400 && message.contains("topic chat.in does not take it"), "{status} {message}");
    assert!(far.posts.lock().is_empty());
    *far.bus_says.lock() = None;
    *far.room_says.lock() = Some(FaultKind::Full);
    let (status, message) = told(post(&entries, "/chat/a/message", "{}").await);
    assert!(status == 429 && message.starts_with("published to topic chat.in, but the room"), "{message}");
    *far.silent.lock() = true;
    let (status, message) = told(post(&entries, "/chat/a/message", "{}").await);
    assert!(status == 504 && message.contains("not taken within 5000 ms"), "{status} {message}");
}
