use super::{PATIENCE, Redis, RedisConfig, RedisServer, ask, batch, block, open, opened, publish, wait_for};
use crate::{
    core::publish::batch::PublishError,
    ports::{Expect, Put, TopicFrom},
};
use std::time::Duration;

const SECRET: &str = "p@ss/word-7391";
const SECRET_IN_URL: &str = "p%40ss%2Fword-7391";

#[test]
fn a_server_that_is_not_there_ends_every_call_and_is_waited_for() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let mut config = RedisConfig::new(server.url());
    config.command_timeout = Duration::from_millis(200);
    let redis = Redis::open(config).expect("it opens");
    let error = block(redis.documents().get(vec!["a".into()])).expect_err("no server");
    assert!(error.transient && error.message.contains(&format!("127.0.0.1:{}", server.port)), "{error}");
    assert_eq!(publish(&*redis.bus(), &batch(1, &[("t", "a", 1)])), Err(PublishError::Retry));
    assert!(super::fetch(&*redis.bus(), "t", TopicFrom::Start).is_err());
    let health = redis.health().expect_err("not ready");
    assert!(health.starts_with(&format!("waiting for Redis at 127.0.0.1:{}: ", server.port)), "{health}");
    server.run();
    wait_for("health", || redis.health().is_ok());
    wait_for("the batch", || publish(&*redis.bus(), &batch(1, &[("t", "a", 1)])).is_ok());
    wait_for("durability to be known", || redis.capabilities().durable);
}

#[test]
fn a_server_that_hangs_ends_every_call_within_the_deadline() {
    let server = RedisServer::start(&[]);
    let mut config = RedisConfig::new(server.url());
    config.command_timeout = Duration::from_millis(300);
    let redis = Redis::open(config).expect("it opens");
    wait_for("a connection", || redis.health().is_ok());
    let parked = ask(&*redis.bus(), "later", TopicFrom::Start, 1000);
    wait_for("it to be parked", || redis.stats().parked_readers == 1);
    wait_for("a session", || publish(&*redis.bus(), &batch(7, &[("t", "b", 1)])).is_ok());
    let published = redis.times()[0].count();
    server.signal("STOP");
    // Each answers by itself while the server says nothing: that is what is shown here.
    assert_eq!(publish(&*redis.bus(), &batch(1, &[("t", "a", 1)])), Err(PublishError::Retry));
    // What failed took its time as well.
    assert_eq!(redis.times()[0].count(), published + 1);
    let documents = redis.documents();
    assert!(block(documents.get(vec!["a".into()])).is_err());
    assert!(block(documents.put("a".into(), "1".into(), Expect::Absent, None)).is_err());
    assert!(block(documents.delete("a".into(), "=1".into())).is_err());
    assert!(super::fetch(&*redis.bus(), "t", TopicFrom::Now).is_err());
    wait_for("the reason", || redis.health().is_err_and(|why| why.contains("no answer within 300 ms")));
    server.signal("CONT");
    wait_for("health", || redis.health().is_ok());
    wait_for("the batch", || publish(&*redis.bus(), &batch(1, &[("t", "a", 1)])).is_ok());
    // Who is parked stays parked.
    assert!(parked.try_recv().is_err());
    wait_for("news", || publish(&*redis.bus(), &batch(2, &[("later", "a", 2)])).is_ok());
    assert!(parked.recv_timeout(PATIENCE).expect("an answer").is_ok());
}

#[test]
fn readers_that_are_parked_outlive_the_server() {
    let mut server = RedisServer::start(&[]);
    let redis = opened(&server);
    let parked = ask(&*redis.bus(), "t", TopicFrom::Start, 1000);
    wait_for("it to be parked", || redis.stats().parked_readers == 1);
    server.kill();
    wait_for("the loss to be seen", || redis.health().is_err());
    server.run();
    wait_for("the batch", || publish(&*redis.bus(), &batch(1, &[("t", "a", 1)])).is_ok());
    let chunk = parked.recv_timeout(PATIENCE).expect("an answer").expect("a chunk");
    assert_eq!(chunk.events.len(), 1);
}

#[test]
fn a_password_is_used_and_never_shown() {
    let server = RedisServer::start(&["--requirepass", SECRET]);
    let at = format!("127.0.0.1:{}", server.port);
    let config = RedisConfig::new(format!("redis://:{SECRET_IN_URL}@{at}/3"));
    assert_hidden(&format!("{config:?}"));
    let redis = Redis::open(config).expect("it opens");
    wait_for("health", || redis.health().is_ok());
    let put = block(redis.documents().put("a".into(), "1".into(), Expect::Absent, None));
    assert!(matches!(put, Ok(Put::Written(_))));

    let wrong = Redis::open(RedisConfig::new(format!("redis://:{SECRET_IN_URL}x@{at}"))).expect("it opens");
    wait_for("the reason", || wrong.health().is_err_and(|why| !why.contains("not connected yet")));
    let health = wrong.health().expect_err("a wrong password");
    assert!(health.contains("assword"), "{health}");
    assert_hidden(&health);
    assert_hidden(&block(wrong.documents().get(vec!["a".into()])).expect_err("refused").message);

    for url in
        [format!("redis://:{SECRET_IN_URL}@:bad:/x"), format!("http://:{SECRET_IN_URL}@h"), SECRET.into()]
    {
        let error = Redis::open(RedisConfig::new(url)).err().expect("a bad URL");
        assert!(error.message.contains("the URL of Redis") && !error.transient, "{error}");
        assert_hidden(&error.message);
    }
}

fn assert_hidden(text: &str) {
    assert!(!text.contains(SECRET) && !text.contains(SECRET_IN_URL), "{text}");
}

#[test]
fn a_unix_socket_and_another_database_do_as_well() {
    let server = RedisServer::start(&[]);
    let redis = Redis::open(RedisConfig::new(format!("unix://{}?db=2", server.socket().display())))
        .expect("it opens");
    wait_for("health", || redis.health().is_ok());
    block(redis.documents().put("a".into(), "1".into(), Expect::Absent, None)).expect("put");
    assert_eq!(server.call(&["EXISTS", "a"]), redis::Value::Int(0), "it is in database 2");
}

#[test]
fn a_closed_backend_drops_what_waits() {
    let server = RedisServer::start(&[]);
    let redis = opened(&server);
    let (documents, bus) = (redis.documents(), redis.bus());
    let parked = ask(&*bus, "t", TopicFrom::Start, 1000);
    wait_for("it to be parked", || redis.stats().parked_readers == 1);
    redis.close().expect("closed");
    assert!(parked.recv().is_err(), "dropped");
    assert!(block(documents.get(vec!["a".into()])).is_err());
    assert!(super::hand_over(&*bus, &batch(1, &[("t", "a", 1)])).recv().is_err());
}

#[test]
fn what_survives_a_power_cut_is_asked_of_the_server() {
    let server = RedisServer::start(&["--appendonly", "no"]);
    let redis = open(&server);
    wait_for("health", || redis.health().is_ok());
    let capabilities = redis.capabilities();
    assert!(capabilities.etag && capabilities.ttl && capabilities.ordered_bulk && capabilities.broadcast);
    assert!(!capabilities.durable);
}
