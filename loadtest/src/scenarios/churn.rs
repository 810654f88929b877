//! Connections that come and go, both ways.

use super::lanes::{self, Doors, House};
use crate::{
    books::Check,
    clock::{self, GLANCE, MILLI, SECOND},
    proto::{ConnectRequest, DisconnectRequest, web_socket_manager_client::WebSocketManagerClient},
    record::Recorder,
    report::Outcome,
    schedule::{Behind, Schedule},
    stage::{self, Stage},
    stop,
    trouble::Result,
    ws::Crowd,
};
use std::{net::SocketAddr, sync::Arc, thread};
use tonic::transport::Channel;

/// Sockets of clients that are open at the same time.
const OPEN: usize = 100;

/// Dials and ends: operations `which` and `which + 1`.
pub async fn dialled(
    channel: Channel,
    recorder: Arc<Recorder>,
    behind: Arc<Behind>,
    which: usize,
    url: impl Fn(u64) -> String,
    schedule: Schedule,
) -> Result<()> {
    let client = WebSocketManagerClient::new(channel);
    lanes::dispatch(schedule, |number, due| {
        if due >= recorder.start() {
            behind.issued(due, clock::now());
        }
        let (mut client, recorder, url) = (client.clone(), recorder.clone(), url(number));
        async move {
            let begun = client.connect(ConnectRequest { url, ..ConnectRequest::default() }).await;
            let now = clock::now();
            let id = match begun {
                Ok(answer) => answer.into_inner().id,
                Err(status) => return recorder.failed(which, due, now, status.message()),
            };
            recorder.done(which, due, now);
            // Its turn begins when the other's is over.
            let begun = clock::now().max(due);
            match client.disconnect(DisconnectRequest { id, ..DisconnectRequest::default() }).await {
                Ok(_) => recorder.done(which + 1, begun, clock::now()),
                Err(status) => recorder.failed(which + 1, begun, clock::now(), status.message()),
            }
        }
    })
    .await
}

/// Clients that come in, stay a while, and are gone: operation `which` is a handshake.
pub fn accepted(
    http: SocketAddr,
    recorder: &Recorder,
    behind: &Behind,
    which: usize,
    schedule: Schedule,
) -> Result<u64> {
    let mut crowd = Crowd::new(http)?;
    let mut come = 0;
    for number in 0..schedule.total() {
        let due = schedule.due(number);
        while clock::now() < due && !stop::asked() {
            crowd.poll(due.min(clock::now() + GLANCE), &mut |_, _, _| {})?;
        }
        if stop::asked() {
            break;
        }
        if due >= recorder.start() {
            behind.issued(due, clock::now());
        }
        let place = crowd.open([format!("/ws/churn-{}", number % 10)], None, &mut |_, _, _| {})?;
        recorder.done(which, due, clock::now());
        come += 1;
        if let Some(oldest) = place.checked_sub(OPEN) {
            crowd.cut(oldest);
        }
    }
    Ok(come)
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let rate = options.rate.unwrap_or(200.0);
    let mut outcome = Outcome::new("churn");
    outcome.fact("connections a second, each way", rate);
    let doors = Doors { kind: "quiet", count: 1, flags: &[] };
    let mut house = House::open(stage, &mut outcome, doors, |_| {})?;
    let names = ["Connect", "Disconnect", "client's handshake"];
    let measure = stage.measure(&names, house.watched(), options.length(5, 30));
    let schedule = measure.schedule(rate);
    let (runtime, channel, recorder) =
        (house.runtime.clone(), house.channel.clone(), measure.recorder.clone());
    let behind = measure.behind.clone();
    let (http, base) = (house.service.at.http, house.upstream.address);
    let come = stage.watch("churn", &measure, move || {
        let clients = {
            let recorder = recorder.clone();
            let behind = behind.clone();
            thread::spawn(move || accepted(http, &recorder, &behind, 2, schedule))
        };
        let url = move |number| format!("ws://{base}/quiet/churn-{number}");
        runtime.block_on(dialled(channel, recorder, behind, 0, url, schedule))?;
        clients
            .join()
            .unwrap_or_else(|_| Err(crate::trouble::Trouble::Failed("a panic among clients".into())))
    })?;
    measure.into(&mut outcome);
    let connects = outcome.operations[0].done() + outcome.operations[0].warm;
    let give_up = clock::now() + 5 * SECOND;
    let mut after = house.service.scrape()?;
    while after.sum("wsm_accepted_connections") > 0.0 && clock::now() < give_up {
        clock::sleep(50 * MILLI);
        after = house.service.scrape()?;
    }
    let more = |name: &str| after.sum(name) - house.before.sum(name);
    let count = |text: &str, value: f64| (text.to_owned(), value);
    let dials =
        Check::new("dials", ("Connects", connects as f64), &[count("dials", more("wsm_dials_total"))]);
    let let_in = [count("let in", more("wsm_accepted_total"))];
    outcome.books.extend([
        dials,
        Check::new("clients", ("came", come as f64), &let_in),
        Check::new(
            "clients that are gone and still held",
            ("held", after.sum("wsm_accepted_connections")),
            &[count("wanted", 0.0)],
        ),
    ]);
    outcome.books.extend(stage::settle(&house.service, SECOND)?.1);
    house.service.end()?;
    Ok(outcome)
}
