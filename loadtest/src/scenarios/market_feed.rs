//! A few hot venues whose messages go to a room each, in bursts, and a thousand readers of these rooms.
//! Some of them stop reading for a while: they are told what they missed, and hold up nobody.

use super::{
    lanes,
    rooms::{self, Timeline},
};
use crate::{
    books::Check,
    clock::{self, MILLI, SECOND},
    limits,
    proto::ConnectRequest,
    readers::{
        self, Readers,
        target::{Target, Wire},
    },
    report::{Outcome, Table},
    scrape::Scrape,
    service::Service,
    stage::{self, Measure, Stage},
    stop,
    trouble::{Result, Trouble},
    upstream::{Feed, Manner, Upstream},
};

const VENUES: usize = 4;
const READERS: usize = 1000;
/// One reader in so many is slow, and hears all venues.
const SLOW_OF: usize = 20;
/// Messages a second over all venues, so many at a time, and how large.
const RATE: f64 = 2000.0;
const BURST: u64 = 40;
const BYTES: usize = 512;
/// How far a reader may be behind: little, so that a short run shows what happens then.
const BEHIND: &str = "256KiB";
const RULE: &str = "ticks-* slow=drop_oldest history=none";
const PATIENCE: u64 = 20 * SECOND;

/// Both kinds of readers; the slow ones' times are not those of the others.
struct Stalls {
    fast: Readers,
    slow: Readers,
    slow_count: usize,
}

pub fn run(stage: &Stage) -> Result<Outcome> {
    let options = &stage.options;
    let count = options.connections.unwrap_or(READERS).max(VENUES);
    limits::need_files(count as u64, &format!("{count} readers"))?;
    let (rate, bytes) = (options.rate.unwrap_or(RATE), options.bytes.unwrap_or(BYTES));
    if options.address.is_some() {
        return Err(Trouble::Usage(
            "market-feed has a rule of its own for slow readers, so it starts the service itself: leave --address out"
                .to_owned(),
        ));
    }
    let mut outcome = Outcome::new("market-feed");
    for (name, value) in
        [("venues", VENUES), ("readers", count), ("slow ones", count / SLOW_OF), ("bytes", bytes)]
    {
        outcome.fact(name, value);
    }
    outcome.fact("messages a second", rate);
    outcome.fact("burst", BURST);
    let mut service = stage.service(&["--room-rule", RULE, "--reader-bytes-max", BEHIND])?;
    let mut upstream = stage.upstream(Manner::default())?;
    outcome.noise = Some(stage.noise());
    let before = service.scrape()?;
    let mut stalls = Stalls::come_in(stage, &service, count)?;
    connect(&service, &upstream)?;
    let watched = service.watched().into_iter().chain([upstream.watched()]).collect();
    let measure = stage.measure(&["tick"], watched, options.length(5, 30));
    let nanos = measure.end - measure.begin;
    upstream.feed(&Feed { start: measure.begin, rate, nanos, burst: BURST, bytes })?;
    let expected = rate * (count - count / SLOW_OF) as f64 / VENUES as f64;
    let operation = stalls.listen(stage, &measure, expected)?;
    measure.into(&mut outcome);
    outcome.operations = vec![operation];
    // The schedule is the upstream's.
    outcome.behind = None;
    stalls.catch_up(&service, &before)?;
    stalls.report(&mut outcome);
    let counts = upstream.counts()?;
    outcome.notes.push(format!("{} messages fed by {VENUES} venues", counts.fed));
    if counts.unsent > 0 {
        let why = "messages were due and not sent: the service read too slowly for this rate";
        outcome.failures.push(format!("{} {why}", counts.unsent));
    }
    balance(&service, &before, counts.fed, &stalls, &mut outcome)?;
    service.end()?;
    Ok(outcome)
}

/// A venue's messages go straight to its room.
fn connect(service: &Service, upstream: &Upstream) -> Result<()> {
    let runtime = lanes::runtime()?;
    let channel = runtime.block_on(service.channel())?;
    let requests = (0..VENUES).map(|venue| ConnectRequest {
        url: upstream.url("feed", venue),
        rooms: vec![format!("ticks-{venue}")],
        ..ConnectRequest::default()
    });
    runtime.block_on(lanes::connect(&channel, requests.collect())).map(drop)
}

impl Stalls {
    fn come_in(stage: &Stage, service: &Service, count: usize) -> Result<Self> {
        let slow_count = count / SLOW_OF;
        let (mut fast, mut slow) = (Readers::new(1)?, Readers::new(1)?);
        let numbered = |path: &str| Target { wire: Wire::Numbered, ..Target::plain(service.at.http, path) };
        for venue in 0..VENUES {
            let share = (count - slow_count) / VENUES + usize::from(venue < (count - slow_count) % VENUES);
            stage.progress.tick(|| format!("market-feed: readers of venue {venue} come in"));
            fast.join(&numbered(&format!("/ws/ticks-{venue}")), share, readers::POLITE, PATIENCE)?;
        }
        let all: Vec<String> = (0..VENUES).map(|venue| format!("room=ticks-{venue}")).collect();
        let target = numbered(&format!("/ws?{}", all.join("&")));
        // A large buffer would take for them what they do not read.
        let target = Target { receive_buffer: Some(16 << 10), ..target };
        slow.join(&target, slow_count, readers::POLITE, PATIENCE)?;
        Ok(Stalls { fast, slow, slow_count })
    }

    /// Until the feed is over. The slow ones take nothing from a tenth of it to three quarters.
    fn listen(
        &mut self,
        stage: &Stage,
        measure: &Measure,
        expected: f64,
    ) -> Result<crate::record::Operation> {
        let mut timeline = Timeline::begin("tick", &mut self.fast, measure, expected);
        let whole = measure.end - measure.begin;
        let (stop_at, go_on_at) = (measure.begin + whole / 10, measure.begin + whole * 3 / 4);
        let mut reads = true;
        while clock::now() < measure.end + 200 * MILLI && !stop::asked() {
            let now = clock::now();
            let wanted = now < stop_at || now >= go_on_at;
            if wanted != reads {
                (0..self.slow_count).try_for_each(|number| self.slow.set_reading(number, wanted))?;
                reads = wanted;
            }
            if self.fast.pass(MILLI)? == 0 || reads {
                self.slow.pass(0)?;
            }
            timeline.turn(&mut self.fast, now);
            stage.progress.tick(|| {
                let (fast, slow) = (self.fast.tally, self.slow.tally);
                format!(
                    "market-feed: {} ticks, slow readers {} and {} announced as missed",
                    fast.received, slow.received, slow.announced
                )
            });
        }
        Ok(timeline.end(&self.fast))
    }

    /// Until all that the service has for them is read.
    fn catch_up(&mut self, service: &Service, before: &Scrape) -> Result<()> {
        (0..self.slow_count).try_for_each(|number| self.slow.set_reading(number, true))?;
        let give_up = clock::now() + PATIENCE;
        loop {
            self.fast.settle(50 * MILLI)?;
            self.slow.settle(50 * MILLI)?;
            let now = service.scrape()?;
            let name = "wsm_room_deliveries_total";
            let more = |outcome: &str| {
                now.sum_of(name, "outcome", outcome) - before.sum_of(name, "outcome", outcome)
            };
            let come = self.fast.tally.received + self.slow.tally.received;
            let told = self.slow.tally.announced + self.fast.tally.announced;
            let whole = more("delivered") <= come as f64
                && more("dropped_oldest") <= told as f64
                && now.sum("wsm_room_deliveries_in_flight") == 0.0;
            if whole || clock::now() > give_up || stop::asked() {
                return Ok(());
            }
        }
    }

    fn report(&self, outcome: &mut Outcome) {
        let mut table =
            Table::new("Readers", &["who", "received", "announced as missed", "lost without a word"]);
        for (who, tally) in [("fast", &self.fast.tally), ("slow", &self.slow.tally)] {
            table.row(&[
                who.to_owned(),
                tally.received.to_string(),
                tally.announced.to_string(),
                tally.missing.to_string(),
            ]);
            rooms::complaints(tally, outcome);
        }
        outcome.tables.push(table);
        if self.slow.tally.announced == 0 {
            outcome.notes.push("no slow reader was behind by more than its bound: a longer run, or a higher --rate, shows it".to_owned());
        }
    }
}

fn balance(
    service: &Service,
    before: &Scrape,
    fed: u64,
    stalls: &Stalls,
    outcome: &mut Outcome,
) -> Result<()> {
    let (after, books) = stage::settle(service, 2 * SECOND)?;
    outcome.books.extend(books);
    let name = "wsm_room_deliveries_total";
    let more =
        |outcome: &str| after.sum_of(name, "outcome", outcome) - before.sum_of(name, "outcome", outcome);
    let (fast, slow) = (&stalls.fast.tally, &stalls.slow.tally);
    let posts = after.sum("wsm_room_posts_total") - before.sum("wsm_room_posts_total");
    let both = |part: fn(&readers::books::Tally) -> u64| (part(fast) + part(slow)) as f64;
    for (name, left, right) in [
        ("ticks, fed and numbered", ("fed", fed as f64), ("numbered by rooms", posts)),
        (
            "ticks, delivered and received",
            ("delivered", more("delivered")),
            ("received", both(|it| it.received)),
        ),
        (
            "ticks, dropped and announced",
            ("dropped", more("dropped_oldest")),
            ("announced", both(|it| it.announced)),
        ),
    ] {
        outcome.books.push(Check::new(name, left, &[(right.0.to_owned(), right.1)]));
    }
    Ok(())
}
