//! Commands over the bus, from an application behind a sidecar of its own; and what a sidecar that
//! knows our port asks and passes on.

use crate::harness::{
    Peer, Upstream,
    daemon::free_ports,
    fleet::{Backing, Fleet, FleetPlan},
    redis::Redis,
    service::Plan,
    sidecar::{Behind, Options, Sidecar},
    wait_for,
};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const COMMANDS: &str = "websocketmanager.commands";

/// RFC 3339, so long ago.
fn time(ago: Duration) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") - ago;
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to a date, after Howard Hinnant's civil_from_days.
    let z = days as i64 + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

struct Stage {
    fleet: Fleet,
    theirs: Sidecar,
    upstream: Upstream,
}

impl Stage {
    async fn new(count: usize) -> Option<Self> {
        let fleet = FleetPlan::new(count, Backing::Dapr).start().await?;
        let redis = fleet.redis.as_ref().expect("it is there");
        let theirs = Sidecar::start(Behind::Redis(redis), Options::new("caller")).await?;
        for member in &fleet.members {
            wait_for("the service to be ready", async || {
                (member.service.http().get("/readyz").await.status == 200).then_some(())
            })
            .await;
        }
        Some(Stage { fleet, theirs, upstream: Upstream::start().await })
    }

    fn event(id: &str, method: &str, data: &Value) -> Value {
        json!({
            "specversion": "1.0", "id": id, "source": "urn:caller", "time": time(Duration::ZERO),
            "type": format!("com.virtufin.websocketmanager.command.{method}"),
            "datacontenttype": "application/json", "replyto": "replies", "data": data,
        })
    }

    async fn command(&self, id: &str, method: &str, data: Value) {
        self.theirs.publish(COMMANDS, &Self::event(id, method, &data)).await;
    }

    async fn reply(&self, id: &str) -> Value {
        let redis = self.fleet.redis.as_ref().expect("it is there");
        wait_for(&format!("the reply to {id}"), async || {
            let events = redis.events("replies").await;
            events.into_iter().find(|event| event["replyid"] == id)
        })
        .await
    }

    async fn connected(&mut self) -> Peer {
        let url = self.upstream.url();
        self.command("c-1", "Connect", json!({"url": url, "connectionId": "bus"})).await;
        let reply = self.reply("c-1").await;
        assert_eq!((&reply["grpccode"], &reply["data"]["id"]), (&json!(0), &json!("bus")), "{reply}");
        assert_eq!(reply["type"], "com.virtufin.websocketmanager.reply");
        self.upstream.peer().await
    }
}

/// Answers what it is asked, and gives what that was once `last` comes.
async fn asked_until(peer: &mut Peer, last: &str) -> Vec<String> {
    let mut asked = Vec::new();
    loop {
        let text = peer.text().await;
        peer.say(text.clone()).await;
        let end = text.contains(last);
        asked.push(text);
        if end {
            return asked;
        }
    }
}

async fn commands(count: usize) {
    let Some(mut stage) = Stage::new(count).await else { return };
    let mut peer = stage.connected().await;
    let upstream = tokio::spawn(async move { asked_until(&mut peer, "last").await });
    let send = |id: &str| json!({"id": "bus", "message": json!({"id": id}).to_string()});
    for id in ["s-1", "s-2"] {
        for _ in 0..4 {
            stage.command(id, "Send", send(id)).await;
        }
        let reply = stage.reply(id).await;
        let answered = reply["data"]["response"].as_str().unwrap_or_else(|| panic!("{reply}"));
        assert_eq!(answered, json!({"id": id}).to_string());
        // Long after it was answered.
        stage.command(id, "Send", send(id)).await;
    }
    let mut old = Stage::event("s-old", "Send", &send("s-old"));
    old["time"] = time(Duration::from_secs(3600)).into();
    stage.theirs.publish(COMMANDS, &old).await;
    let reply = stage.reply("s-old").await;
    assert_ne!(reply["grpccode"], 0, "{reply}");
    stage.command("s-last", "Send", send("last")).await;
    stage.reply("s-last").await;
    let asked = upstream.await.expect("the upstream ends well");
    let wanted: Vec<_> = ["s-1", "s-2", "last"].iter().map(|id| json!({"id": id}).to_string()).collect();
    assert_eq!(asked, wanted, "each once, and the old one never");
    let redis = stage.fleet.redis.as_ref().expect("it is there");
    let replies = redis.events("replies").await;
    let of = |id: &str| replies.iter().filter(|event| event["replyid"] == id).count();
    assert_eq!((of("s-1"), of("s-2"), of("s-last")), (1, 1, 1));
}

#[tokio::test]
async fn a_command_over_the_bus_is_answered_and_runs_once() {
    commands(1).await;
}

#[tokio::test]
async fn a_command_runs_once_though_two_instances_take_commands() {
    commands(2).await;
}

#[tokio::test]
async fn a_wrapped_command_and_a_wrong_one_are_answered() {
    let Some(stage) = Stage::new(1).await else { return };
    let send = json!({"id": "nobody", "message": "x"});
    stage.command("w-1", "Send", send).await;
    let reply = stage.reply("w-1").await;
    assert_eq!((&reply["grpccode"], &reply["data"]["code"]), (&json!(5), &json!(5)), "{reply}");
    stage.command("w-2", "Fly", json!({})).await;
    assert_eq!(stage.reply("w-2").await["grpccode"], 12);
    // As an SDK publishes it: the sidecar wraps it into an event of its own.
    let inner = Stage::event("w-3", "List", &json!({}));
    let path = format!("/v1.0/publish/pubsub/{COMMANDS}");
    let answer = stage.theirs.call("POST", &path, Some(("application/json", inner.to_string()))).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(stage.reply("w-3").await["grpccode"], 0);
}

#[tokio::test]
async fn a_sidecar_that_knows_our_port_becomes_ready() {
    let Some(redis) = Redis::start().await else { return };
    let [port] = free_ports();
    let port = port.to_string();
    let mut options = Options::new("wsmgr");
    options.more = ["--app-port", &port, "--app-protocol", "grpc"].map(str::to_owned).to_vec();
    let Some(sidecar) = Sidecar::start(Behind::Redis(&redis), options).await else { return };
    let plan = Plan::new().set("--backend", "dapr").set("--grpc-port", &port);
    let service = plan.args(&sidecar.service_args().each_ref().map(|it| &**it)).start().await;
    wait_for("the sidecar to be ready with its application", async || {
        (sidecar.http().get("/v1.0/healthz").await.status == 204).then_some(())
    })
    .await;
    wait_for("the service to be ready", async || {
        (service.http().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let log = sidecar.log();
    // This sidecar may be built without name resolution, which it tells as an error.
    let bad = |line: &&str| line.contains("level=fatal") || line.contains("level=error");
    let bad: Vec<_> = log.lines().filter(bad).filter(|line| !line.contains("name resolver")).collect();
    assert!(bad.is_empty(), "{bad:?}");
}
