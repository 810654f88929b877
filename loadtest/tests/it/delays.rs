//! What the generator reports beside what was done to it. Only ratios to delays that were put in are
//! asserted, and those are long beside what a busy machine adds.

use crate::{
    fake::Fake,
    quiet::{self, near},
};
use loadtest::{
    clock::{MILLI, SECOND},
    options::Options,
    record::Operation,
    report::Outcome,
    scenarios::{
        lanes,
        sends::{self, Load},
    },
    stage::Stage,
};
use std::time::Duration;

const DELAY: u64 = 200 * MILLI;
/// Sends a second, by each way.
const RATE: f64 = 200.0;
const BATCH: u64 = 10;
const SHORT: u64 = SECOND;
/// With a stall: most of it is not touched by that.
const LONG: u64 = 3 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Stream,
    Unary,
    Batch,
}

fn measured(way: Way, stall: bool) -> Outcome {
    let fake = Fake::start(Duration::from_nanos(DELAY));
    let stage = Stage::new(Options::default()).expect("a stage");
    let runtime = lanes::runtime().expect("a runtime");
    let mut outcome = Outcome::new("test");
    let channel = runtime.block_on(async {
        let address = format!("http://{}", fake.grpc);
        let endpoint = tonic::transport::Endpoint::from_shared(address).expect("an address");
        endpoint.tcp_nodelay(true).connect().await.expect("it listens")
    });
    let names = ["Send", "SendBatch"];
    let measure = stage.measure_after(0, &names, Vec::new(), if stall { LONG } else { SHORT });
    let load = Load::new(&measure, &["a".to_owned(), "b".to_owned()], 64);
    if stall {
        fake.stall_at(measure.begin + SECOND / 2);
    }
    let schedule = measure.schedule(if way == Way::Batch { RATE / BATCH as f64 } else { RATE });
    runtime
        .block_on(async {
            match way {
                Way::Stream => sends::over_streams(channel, load, schedule).await,
                Way::Unary => sends::unary(channel, load, schedule).await,
                Way::Batch => sends::batches(channel, load, schedule, BATCH).await,
            }
        })
        .expect("all are answered");
    measure.into(&mut outcome);
    outcome
}

/// How many took at least so long.
fn slower(send: &Operation, than: u64) -> u64 {
    send.histogram
        .iter_recorded()
        .filter(|it| it.value_iterated_to() >= than)
        .map(|it| it.count_at_value())
        .sum()
}

fn delay_is_told(way: Way) {
    quiet::sometime(|| {
        let outcome = measured(way, false);
        let send = &outcome.operations[0];
        assert_eq!(send.done(), (RATE * SHORT as f64 / SECOND as f64) as u64);
        // Timers are never early, and what is counted begins when it was due.
        let least = send.histogram.min();
        assert!(least >= DELAY * 99 / 100, "none is faster than it can be: {least}");
        near("p50", send.at(0.5), DELAY, 0.05)
    });
}

/// It answers nothing for a second: what was under way is answered then, and what was due meanwhile
/// a delay later. A generator that waits for answers would send none meanwhile, and count one.
fn stall_is_told(way: Way) {
    quiet::sometime(|| {
        let outcome = measured(way, true);
        let send = &outcome.operations[0];
        assert_eq!(send.done(), (RATE * LONG as f64 / SECOND as f64) as u64, "none is left out");
        let per_second = |nanos: u64| (RATE * nanos as f64 / SECOND as f64) as u64;
        // Those that were due up to half a second before its end, and those that were under way.
        let late = slower(send, DELAY + SECOND / 2);
        let wanted = per_second(SECOND / 2 + DELAY);
        assert!(late >= wanted * 9 / 10, "more than half a second late: {late}, not {wanted}");
        near("more than half a second late", late, wanted, 0.1)?;
        let late = slower(send, DELAY + SECOND / 10);
        near("more than a tenth of a second late", late, per_second(SECOND * 9 / 10 + DELAY), 0.1)?;
        near("p50 of the rest", send.at(0.5), DELAY, 0.05)?;
        near("the longest", send.histogram.max(), SECOND + DELAY, 0.05)?;
        let lag = outcome.behind.ok_or("no schedule")?;
        near("issued", lag.issued, send.done(), 0.0)?;
        // The generator did not wait for the service.
        if lag.max < SECOND / 2 { Ok(()) } else { Err(format!("the generator fell behind: {lag:?}")) }
    });
}

#[test]
fn a_known_delay_is_reported_over_send_stream() {
    delay_is_told(Way::Stream);
}

#[test]
fn a_known_delay_is_reported_of_unary_calls() {
    delay_is_told(Way::Unary);
}

#[test]
fn a_known_delay_is_reported_of_batches() {
    delay_is_told(Way::Batch);
}

#[test]
fn a_stall_shows_in_the_tail_over_send_stream() {
    stall_is_told(Way::Stream);
}

#[test]
fn a_stall_shows_in_the_tail_of_unary_calls() {
    stall_is_told(Way::Unary);
}
