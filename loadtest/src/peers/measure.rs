//! What is measured of a server: the same for all of them, by the same readers.

use super::{server::Server, voice::Voice};
use crate::{
    clock::{self, MILLI, SECOND},
    frames::{self, From},
    readers::{
        self, Readers,
        books::Tally,
        stamp::{self, Stamp},
        target::{Target, Wire},
    },
    sample, stop,
    trouble::{Result, Trouble},
};

/// Payload bytes of a message, everywhere here.
pub const BYTES: usize = 128;
/// How long nothing may come while something is owed.
const PATIENCE: u64 = 20 * SECOND;
/// Connections before the first that counts: buffers that a server makes once, for as many handshakes
/// as are under way together.
const WARM: usize = 2 * readers::POLITE;

/// A server with its members in their seats.
pub struct Hall {
    pub server: Server,
    pub members: usize,
    bytes: usize,
    /// The server's own memory for each member that has nothing to hear.
    pub idle_bytes: f64,
    pub crowd: Readers,
    pub voice: Voice,
    /// The next message's number.
    next: u64,
    /// Deliveries that are owed since the crowd began.
    owed: u64,
}

/// Publish, wait until all have it, and again.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    pub deliveries: u64,
    /// Of the server.
    pub cpu_nanos: u64,
    pub wall_nanos: u64,
    /// From the publish to the read.
    pub p50: u64,
    pub p99: u64,
}

impl Closed {
    pub fn per_cpu_second(&self) -> f64 {
        if self.cpu_nanos == 0 { f64::NAN } else { self.deliveries as f64 * 1e9 / self.cpu_nanos as f64 }
    }

    pub fn per_second(&self) -> f64 {
        self.deliveries as f64 * 1e9 / self.wall_nanos.max(1) as f64
    }
}

/// On a schedule, whatever the server does.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Publishes a second that were scheduled.
    pub rate: f64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    /// How late this generator sent, at its worst.
    pub behind: u64,
    /// All came, in time, and nobody was thrown out.
    pub whole: bool,
}

impl Hall {
    /// Starts nothing: the server runs already. So many more than the members come, do nothing, and
    /// go; with none of them an idle connection's memory is taken from the members.
    pub fn fill(server: Server, members: usize, bytes: usize, idle: usize) -> Result<Self> {
        let mut crowd = Readers::new(1)?;
        let warm = WARM.min(members / 2);
        crowd.join(&server.target, warm, readers::POLITE, PATIENCE)?;
        let mut before = server.settled(&mut crowd)?;
        crowd.join(&server.target, members - warm, readers::POLITE, PATIENCE)?;
        let mut after = server.settled(&mut crowd)?;
        let mut count = members - warm;
        if idle > 0 {
            let mut passing = Readers::new(1)?;
            passing.join(&server.target, idle, readers::POLITE, PATIENCE)?;
            (before, after, count) = (after, server.settled(&mut passing)?, idle);
        }
        crowd.settle(SECOND / 5)?;
        let idle_bytes = after.saturating_sub(before) as f64 / count.max(1) as f64;
        let voice = Voice::open(server.way.clone(), bytes, &mut crowd)?;
        crowd.tally = Tally::default();
        Ok(Hall { server, members, bytes, idle_bytes, crowd, voice, next: 0, owed: 0 })
    }

    /// Deliveries that are owed so far.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// One more message of the next write.
    pub fn publish(&mut self, at: u64) {
        self.voice.say(Stamp { stream: 0, number: self.next, nanos: at });
        self.next += 1;
        self.owed += self.members as u64;
    }

    /// Rounds of so many messages in one write, for at least so long; each is over when all members
    /// have all of it.
    pub fn closed(&mut self, nanos: u64, at_once: usize) -> Result<Closed> {
        let (cpu, began, owed) = (self.server.cpu()?, clock::now(), self.owed);
        self.crowd.forget_times(self.members as u64 * at_once as u64 / 100, 0);
        while clock::now() < began + nanos || self.owed == owed {
            let now = clock::now();
            (0..at_once).for_each(|_| self.publish(now));
            self.voice.flush(&mut self.crowd)?;
            let Hall { voice, crowd, owed, .. } = self;
            crowd.await_received(*owed, PATIENCE, &mut || voice.turn())?;
        }
        let wall_nanos = clock::now() - began;
        // Its last write returned to it after the reader had the message.
        self.crowd.settle(2 * MILLI)?;
        self.check()?;
        let (deliveries, cpu_nanos) = (self.owed - owed, self.server.cpu()? - cpu);
        let (p50, p99) =
            (self.crowd.waits.times.value_at_quantile(0.5), self.crowd.waits.times.value_at_quantile(0.99));
        Ok(Closed { deliveries, cpu_nanos, wall_nanos, p50, p99 })
    }

    /// Publishes on a schedule for so long, and reads until all has come or `give_up` after the last.
    pub fn open(&mut self, rate: f64, nanos: u64, bound: u64) -> Result<Open> {
        let count = (rate * nanos as f64 / 1e9).ceil().max(1.0) as u64;
        let sampled = (count * self.members as u64).div_ceil(SAMPLES).max(1);
        self.crowd.forget_times(sampled, 0);
        let start = clock::now() + MILLI;
        let due = |nth: u64| start + (nth as f64 * 1e9 / rate) as u64;
        let (mut sent, mut behind) = (0, 0);
        let give_up = due(count) + bound.max(SECOND / 2);
        let lost_before = self.crowd.tally.closed;
        while sent < count || self.crowd.tally.received < self.owed {
            let now = clock::now();
            while sent < count && due(sent) <= now {
                behind = behind.max(now - due(sent));
                self.publish(due(sent));
                sent += 1;
            }
            self.voice.flush(&mut self.crowd)?;
            self.crowd.pass(0)?;
            if now > give_up || self.crowd.tally.closed > lost_before {
                break;
            }
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
        }
        let whole = self.crowd.tally.received == self.owed && self.check().is_ok();
        let times = &self.crowd.waits.times;
        let at = |quantile| if times.is_empty() { u64::MAX } else { times.value_at_quantile(quantile) };
        let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
        Ok(Open { rate, p50, p99, p999, behind, whole })
    }

    /// Nobody may have lost, doubled or turned round a message.
    fn check(&self) -> Result<()> {
        let Tally { missing, again, closed, .. } = self.crowd.tally;
        if missing + again + closed == 0 {
            return Ok(());
        }
        Err(Trouble::Failed(format!(
            "{}: {missing} deliveries lost, {again} doubled or turned round, {closed} members thrown out",
            self.server.kind.name()
        )))
    }

    /// After members were thrown out: all come in anew.
    pub fn refill(&mut self) -> Result<()> {
        self.crowd.settle(SECOND / 5)?;
        self.crowd.leave();
        self.crowd.join(&self.server.target, self.members, readers::POLITE, PATIENCE)?;
        self.crowd.tally = Tally::default();
        self.owed = 0;
        self.voice = Voice::open(self.server.way.clone(), self.bytes, &mut self.crowd)?;
        Ok(())
    }

    /// The highest rate that is still served within `bound`, and how it is at half of it.
    pub fn knee(&mut self, start: f64, step: u64, bound: u64, near: f64) -> Result<(f64, Open)> {
        let (mut good, mut rate) = (0.0, start);
        let mut bad = f64::INFINITY;
        for _ in 0..KNEE_STEPS {
            let open = self.open(rate, step, bound)?;
            if !open.whole {
                self.refill()?;
            }
            if open.whole && open.p99 <= bound && open.behind <= bound {
                good = rate;
            } else {
                bad = rate;
            }
            if good > 0.0 && bad / good < near {
                break;
            }
            rate = if bad.is_finite() {
                if good > 0.0 { (good * bad).sqrt() } else { bad / 4.0 }
            } else {
                good * 2.0
            };
        }
        let half = self.open((good / 2.0).max(1.0), 2 * step, bound)?;
        if !half.whole {
            self.refill()?;
        }
        Ok((good, half))
    }
}

/// Deliveries that are timed in one open run, about.
const SAMPLES: u64 = 200_000;
const KNEE_STEPS: usize = 14;

/// Messages a CPU-second that a server takes from so many senders, so many frames in each write, for
/// so long. The senders write in rounds, each begun when the server has read the one before: what piles
/// up in sockets would make its reads longer than the writes.
pub fn receiving(
    server: &Server,
    target: &Target,
    senders: usize,
    frames_a_write: usize,
    nanos: u64,
) -> Result<f64> {
    let mut crowd = Readers::new(1)?;
    let members = crowd.join(target, senders, readers::POLITE, PATIENCE)?;
    let mut some = Vec::new();
    (0..frames_a_write).for_each(|_| put_message(&mut some, target.wire));
    let mut last = some.clone();
    put_ping(&mut last, target.wire);
    let (mut rounds, mut pongs) = (0, 0);
    let (mut cpu, mut until) = (server.cpu()?, clock::now() + nanos / 5);
    let mut warm = true;
    let most = (senders * ASKED_MOST) as u64;
    while warm || (clock::now() < until && pongs < most) {
        if warm && (clock::now() > until || pongs > most / 4) {
            (warm, rounds, cpu, until) = (false, 0, server.cpu()?, clock::now() + nanos);
        }
        // Each is the last one in its turn: servers close those that ping too much.
        for nth in 1..=senders {
            let number = members.start + (pongs as usize + nth) % senders;
            crowd.write(number, if nth == senders { &last } else { &some })?;
        }
        (rounds, pongs) = (rounds + 1, pongs + 1);
        crowd.await_pongs(pongs, PATIENCE)?;
    }
    let spent = server.cpu()? - cpu;
    Ok((senders * frames_a_write) as f64 * rounds as f64 * 1e9 / spent.max(1) as f64)
}

/// Pings of one sender: a server that minds how many come takes so many for a peer in order.
const ASKED_MOST: usize = 40;
/// With a mask that is none of zeros: taking it off is a part of receiving.
const MASK: [u8; 4] = [0x5a, 0x0f, 0xc3, 0x96];

fn put_message(out: &mut Vec<u8>, wire: Wire) {
    let payload = stamp::payload(BYTES);
    let nats = [format!("PUB nobody {BYTES}\r\n").as_bytes(), &payload, b"\r\n"].concat();
    match wire {
        Wire::NatsOverTcp => out.extend_from_slice(&nats),
        Wire::NatsOverWebSocket => put_masked(out, frames::BINARY, &nats),
        _ => put_masked(out, frames::TEXT, &payload),
    }
}

/// Its answer says that what came before was taken.
fn put_ping(out: &mut Vec<u8>, wire: Wire) {
    match wire {
        Wire::NatsOverTcp => out.extend_from_slice(b"PING\r\n"),
        Wire::NatsOverWebSocket => put_masked(out, frames::BINARY, b"PING\r\n"),
        _ => put_masked(out, frames::PING, b""),
    }
}

fn put_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    frames::put(out, From::Client, opcode, payload);
    let begin = out.len() - payload.len();
    out[begin - MASK.len()..begin].copy_from_slice(&MASK);
    out[begin..].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= MASK[at % MASK.len()]);
}

impl Server {
    /// Of all its threads, in nanoseconds; 0 for one that somebody else started.
    pub fn cpu(&self) -> Result<u64> {
        let Some(pid) = self.pid() else { return Ok(0) };
        sample::cpu_nanos(pid).ok_or_else(|| Trouble::Failed(format!("{} has ended", self.kind.name())))
    }

    /// Dirty memory when it no longer changes: allocators give back what handshakes took a moment later.
    fn settled(&self, crowd: &mut Readers) -> Result<u64> {
        let Some(pid) = self.pid() else { return Ok(0) };
        let (mut last, give_up) = (0, clock::now() + 3 * SECOND);
        loop {
            let now = sample::private_dirty(pid).unwrap_or(0);
            if now.abs_diff(last) < sample::STILL || clock::now() > give_up {
                return Ok(now);
            }
            last = now;
            crowd.settle(SECOND / 5)?;
        }
    }
}
