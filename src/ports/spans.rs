//! Spans of traces: who works on a call, a dial, a batch or a takeover says what it was and how long it
//! took. A bounded queue takes them to whoever exports them; what does not fit is dropped and counted,
//! and with nobody to export them nothing is made at all. Times are handed in.

use crate::core::{random, tally::nanos};
use std::{
    cell::Cell,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A place in a trace, as the W3C's `traceparent` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
}

impl Trace {
    /// None: no context of a version that is known, or one of zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        let sizes = [version.len(), trace.len(), span.len(), flags.len()];
        if sizes != [2, 32, 16, 2] || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        // `from_str_radix` would take a sign as well, and capitals, which are none of the format's digits.
        let is_hex = |part: &&str| part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if ![version, trace, span, flags].iter().all(is_hex) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace != 0 && span != 0).then_some(Trace { trace, span, sampled: flags & 1 == 1 })
    }

    /// As the header has it.
    pub fn header(self) -> String {
        let mut text = String::with_capacity(55);
        // Writing to a string cannot fail.
        let _ = write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        text
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    Server,
    Client,
    Producer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: Trace,
    pub parent: Option<u64>,
    pub name: &'static str,
    pub kind: SpanKind,
    pub begun_unix_nanos: u64,
    pub ended_unix_nanos: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong; None: nothing did.
    pub fault: Option<String>,
}

/// What became of spans, as labels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector took it.
    Sent,
    /// There was no room for it.
    Dropped,
    /// The collector did not take it.
    Failed,
}

impl SpanOutcome {
    pub const ALL: [SpanOutcome; 3] = [SpanOutcome::Sent, SpanOutcome::Dropped, SpanOutcome::Failed];

    pub const fn name(self) -> &'static str {
        match self {
            SpanOutcome::Sent => "sent",
            SpanOutcome::Dropped => "dropped",
            SpanOutcome::Failed => "failed",
        }
    }
}

/// Spans by what became of them.
pub type SpanCounts = [u64; SpanOutcome::ALL.len()];

/// What becomes of something that may be a span.
pub enum Begun {
    /// Nothing, and whatever context there was is passed on as it is.
    Nothing,
    /// It would begin a trace, which is not kept. Whoever works on it elsewhere hears so by this context
    /// and does not draw again: else there would be traces of parts of calls.
    Left(Trace),
    Kept(Open),
}

impl Begun {
    pub fn kept(self) -> Option<Open> {
        match self {
            Begun::Kept(open) => Some(open),
            Begun::Nothing | Begun::Left(_) => None,
        }
    }
}

/// A span that is under way.
pub struct Open {
    spans: Spans,
    pub at: Trace,
    parent: Option<u64>,
    begun_unix_nanos: u64,
}

impl Open {
    pub fn end(
        self,
        took: Duration,
        name: &'static str,
        kind: SpanKind,
        attributes: Vec<(&'static str, Value)>,
        fault: Option<String>,
    ) {
        let Open { spans, at, parent, begun_unix_nanos } = self;
        let ended_unix_nanos = begun_unix_nanos.saturating_add(nanos(took));
        spans.record(Span { at, parent, name, kind, begun_unix_nanos, ended_unix_nanos, attributes, fault });
    }
}

/// Where spans go. Off by default.
#[derive(Clone, Default)]
pub struct Spans(Option<Arc<Inner>>);

struct Inner {
    queue: Sender<Span>,
    /// Of traces that begin here, one in this many is kept.
    one_in: u64,
    outcomes: [AtomicU64; SpanOutcome::ALL.len()],
}

impl Spans {
    /// With room for so many that wait.
    pub fn open(room: usize, one_in: u64) -> (Self, Receiver<Span>) {
        let (queue, spans) = channel(room);
        let inner = Inner { queue, one_in: one_in.max(1), outcomes: Default::default() };
        (Spans(Some(Arc::new(inner))), spans)
    }

    /// Somebody exports them.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span within the trace of whoever asks, when that one is kept, or else perhaps one that begins a
    /// trace. `now`: in nanoseconds of Unix time, asked for only when there is a span.
    pub fn begin(&self, traceparent: Option<&str>, now: impl FnOnce() -> u64) -> Begun {
        let Some(inner) = &self.0 else { return Begun::Nothing };
        let open =
            |at, parent| Begun::Kept(Open { spans: self.clone(), at, parent, begun_unix_nanos: now() });
        match traceparent.and_then(Trace::parse) {
            Some(parent) if parent.sampled => open(Trace { span: draw(), ..parent }, Some(parent.span)),
            Some(_) => Begun::Nothing,
            None => {
                let sampled = inner.one_in == 1 || draw().is_multiple_of(inner.one_in);
                let trace = u128::from(draw()) << 64 | u128::from(draw());
                let at = Trace { trace, span: draw(), sampled };
                if sampled { open(at, None) } else { Begun::Left(at) }
            }
        }
    }

    /// Never waits.
    fn record(&self, span: Span) {
        let Some(inner) = &self.0 else { return };
        if inner.queue.try_send(span).is_err() {
            self.count(SpanOutcome::Dropped, 1);
        }
    }

    pub fn count(&self, outcome: SpanOutcome, count: u64) {
        if let Some(inner) = &self.0 {
            inner.outcomes[outcome as usize].fetch_add(count, Relaxed);
        }
    }

    /// In the order of `SpanOutcome::ALL`.
    pub fn outcomes(&self) -> SpanCounts {
        let read = |inner: &Arc<Inner>| std::array::from_fn(|n| inner.outcomes[n].load(Relaxed));
        self.0.as_ref().map(read).unwrap_or_default()
    }
}

/// Never zero, which would be no id. Each thread draws by itself, from a seed of its own: all shards
/// would meet in one word otherwise.
fn draw() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    STATE.with(|state| {
        let mut next = state.get();
        let drawn = random::next(&mut next);
        state.set(next);
        drawn.max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn kept(spans: &Spans, traceparent: Option<&str>) -> Option<Open> {
        spans.begin(traceparent, || 1).kept()
    }

    fn record(spans: &Spans) {
        if let Some(open) = kept(spans, None) {
            open.end(Duration::from_nanos(1), "test", SpanKind::Internal, Vec::new(), None);
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_w3c_has_it() {
        let trace = Trace::parse(PARENT).unwrap();
        assert_eq!((trace.span, trace.sampled), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(trace.header(), PARENT);
        // A later version may have more behind.
        assert!(Trace::parse(&PARENT.replacen("00", "cc", 1).replace("-01", "-01-what")).is_some());
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replacen("00", "zz", 1),
            &PARENT.replacen("00", "CC", 1),
            &format!("{PARENT}-01"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &PARENT.replace("0af7", "0AF7"),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("b7ad", "+7ad"),
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_asks_decides_whether_its_trace_is_kept() {
        let (spans, _queue) = Spans::open(4, 1_000_000);
        let open = kept(&spans, Some(PARENT)).unwrap();
        assert_eq!(open.at.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(open.parent, Some(0xb7ad_6b71_6920_3331));
        assert_ne!(Some(open.at.span), open.parent);
        assert!(matches!(spans.begin(Some(&PARENT.replace("-01", "-00")), || 1), Begun::Nothing));
        let (all, _queue) = Spans::open(4, 1);
        let (one, other) = (kept(&all, None).unwrap(), kept(&all, None).unwrap());
        assert!(one.parent.is_none() && one.at.sampled && one.at.trace != other.at.trace);
        assert!(matches!(Spans::default().begin(Some(PARENT), || 1), Begun::Nothing));
    }

    #[test]
    fn what_is_not_drawn_is_not_drawn_again_by_whoever_goes_on_with_it() {
        let (spans, _queue) = Spans::open(4, 10);
        let (elsewhere, _queue) = Spans::open(4, 1);
        let mut left = 0;
        for _ in 0..1000 {
            if let Begun::Left(trace) = spans.begin(None, || 1) {
                left += 1;
                assert!(trace.header().ends_with("-00"));
                assert!(kept(&elsewhere, Some(&trace.header())).is_none());
            }
        }
        assert!((800..1000).contains(&left), "{left}");
    }

    #[test]
    fn threads_draw_numbers_of_their_own() {
        let drawn = || std::thread::spawn(|| (0..100).map(|_| draw()).collect::<Vec<_>>()).join().unwrap();
        let mut all = [drawn(), drawn(), drawn()].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 300);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (spans, mut queue) = Spans::open(2, 1);
        (0..5).for_each(|_| record(&spans));
        spans.count(SpanOutcome::Sent, 2);
        let taken = std::iter::from_fn(|| queue.try_recv().ok()).count();
        assert_eq!((taken, spans.outcomes()), (2, [2, 3, 0]));
        drop(queue);
        record(&spans);
        assert_eq!(spans.outcomes(), [2, 4, 0]);
        record(&Spans::default());
        assert_eq!(Spans::default().outcomes(), [0; 3]);
    }
}
