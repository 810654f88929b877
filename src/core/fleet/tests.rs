//! Documents as others write them, and one instance with a store that answers at once.

use super::{
    document::{Lease, LeaseState, Read, Roster, decode_ids, decode_record, own, take},
    io::Claim,
    *,
};
use crate::core::time::Wall;
use bytes::Bytes;

fn id(text: &str) -> ConnectionId {
    ConnectionId::parse(text).unwrap()
}

fn member(name: &str) -> Member {
    Member { incarnation: name.into(), instance: "pod".into(), address: "10.0.0.1:5002".into() }
}

/// A store without faults that answers between two calls.
struct Bench {
    fleet: Fleet,
    docs: BTreeMap<String, Versioned>,
    version: u64,
    now: FleetNow,
    seen: Effects,
    writes: u64,
    /// The answer of the next write of this document is lost, and it does not happen.
    loses: Option<String>,
}

impl Bench {
    fn new() -> Self {
        let fleet = Fleet::new(FleetSetup::new("pod", "w1", "10.0.0.1:5002", 7));
        let now = FleetNow { boot: Boot::from_millis(5_000), wall: Wall::from_unix_millis(1_000_000) };
        Bench { fleet, docs: BTreeMap::new(), version: 0, now, seen: Vec::new(), writes: 0, loses: None }
    }

    fn answer(&mut self, effects: Effects) {
        for effect in effects {
            let (ticket, answer) = match effect {
                FleetEffect::Get { ticket, keys } => {
                    (ticket, DocAnswer::Got(keys.iter().map(|key| self.docs.get(key).cloned()).collect()))
                }
                FleetEffect::Put { ticket, key, .. } if self.loses.as_ref() == Some(&key) => {
                    self.loses = None;
                    (ticket, DocAnswer::Unknown("no answer".into()))
                }
                FleetEffect::Put { ticket, key, value, expect, .. } => {
                    let there = self.docs.get(&key).map(|doc| Expect::Version(doc.version.clone()));
                    self.writes += 1;
                    let answer = if there.unwrap_or(Expect::Absent) == expect {
                        self.version += 1;
                        let version = Version::from(self.version.to_string());
                        self.docs.insert(key, Versioned { value, version: version.clone() });
                        DocAnswer::Written(version)
                    } else {
                        DocAnswer::Conflict
                    };
                    (ticket, answer)
                }
                FleetEffect::Delete { ticket, key, .. } => {
                    self.docs.remove(&key);
                    (ticket, DocAnswer::Written(Version::new()))
                }
                other => {
                    self.seen.push(other);
                    continue;
                }
            };
            let mut more = Vec::new();
            self.fleet.answered(self.now, ticket, answer, &mut more);
            self.fleet.check();
            self.answer(more);
        }
    }

    fn run(&mut self, millis: u64) {
        let end = self.now.boot + Duration::from_millis(millis);
        while self.now.boot < end {
            let next = self.fleet.poll_timeout().max(self.now.boot + Duration::from_millis(1));
            self.now.boot = next.min(end);
            let mut fx = Vec::new();
            self.fleet.tick(self.now, &mut fx);
            self.answer(fx);
        }
    }

    fn tell(&mut self, input: FleetInput) {
        let mut fx = Vec::new();
        self.fleet.handle(self.now, input, &mut fx);
        self.answer(fx);
    }

    fn text(&self, key: &str) -> &str {
        self.docs.get(key).map_or("", |doc| std::str::from_utf8(&doc.value).unwrap())
    }
}

#[test]
fn an_instance_joins_claims_stores_and_forgets() {
    let mut bench = Bench::new();
    bench.run(3000);
    assert!(bench.fleet.valid_until() > bench.now.boot, "it has a lease");
    bench.tell(FleetInput::Claim { asker: Asker(1), id: id("a") });
    bench.run(100);
    assert!(matches!(
        bench.seen.pop(),
        Some(FleetEffect::Claimed { asker: Asker(1), claim: Claim::Mine { .. } })
    ));
    assert!(bench.text("websocket-a").contains("\"claim\":true"));
    let document = Bytes::from_static(b"{\"id\":\"a\",\"epoch\":2000000}");
    bench.tell(FleetInput::Store { asker: Asker(2), id: id("a"), epoch: 2_000_000, document });
    bench.run(3000);
    assert!(bench.seen.contains(&FleetEffect::Stored { asker: Asker(2), result: Ok(()) }));
    assert_eq!(bench.text("websocket-a"), "{\"owner\":\"pod-w1\",\"id\":\"a\",\"epoch\":2000000}");
    assert_eq!(bench.text("websocket-index"), "[\"a\"]");
    bench.tell(FleetInput::Forget { asker: Asker(3), id: id("a") });
    bench.run(5000);
    assert!(bench.seen.contains(&FleetEffect::Stored { asker: Asker(3), result: Ok(()) }));
    assert!(!bench.docs.contains_key("websocket-a"));
    assert_eq!(bench.text("websocket-index"), "[]");
}

#[test]
fn what_is_wanted_goes_before_the_look_back_after_a_claim_that_may_be_late() {
    let mut bench = Bench::new();
    bench.run(3000);
    bench.loses = Some("websocket-a".into());
    bench.tell(FleetInput::Claim { asker: Asker(1), id: id("a") });
    let value = Bytes::from_static(b"{\"owner\":\"gone\",\"epoch\":7}");
    bench.docs.insert("websocket-a".into(), Versioned { value, version: Version::from_static(b"x") });
    bench.run(500);
    let orphan = |nth| FleetEffect::Claimed { asker: Asker(nth), claim: Claim::Orphan };
    assert!(bench.seen.contains(&orphan(1)));
    for nth in 2..5 {
        bench.tell(FleetInput::Claim { asker: Asker(nth), id: id("a") });
        bench.run(100);
        assert!(bench.seen.contains(&orphan(nth)), "the claim {nth} waits for the look back");
    }
    // And the look back comes all the same.
    bench.docs.remove("websocket-a");
    let late = Bytes::from_static(b"{\"owner\":\"pod-w1\",\"claim\":true,\"epoch\":9}");
    bench.docs.insert("websocket-a".into(), Versioned { value: late, version: Version::from_static(b"y") });
    bench.run(5000);
    assert!(!bench.docs.contains_key("websocket-a"), "nobody knows of that claim");
}

#[test]
fn a_claim_makes_nobody_believe_that_something_is_done() {
    let document = || Bytes::from_static(b"{\"id\":\"a\",\"epoch\":2000000}");
    let put = |asker| FleetInput::Store {
        asker: Asker(asker),
        id: id("a"),
        epoch: 2_000_000,
        document: document(),
    };
    let mut bench = Bench::new();
    bench.run(3000);
    bench.tell(put(1));
    bench.run(3000);
    // Its write is under way while it is disconnected, and connected again.
    let mut fx = Vec::new();
    bench.fleet.handle(bench.now, put(2), &mut fx);
    bench.fleet.handle(bench.now, FleetInput::Forget { asker: Asker(3), id: id("a") }, &mut fx);
    bench.fleet.handle(bench.now, FleetInput::Claim { asker: Asker(4), id: id("a") }, &mut fx);
    let refused = |effect: &FleetEffect| {
        matches!(effect, FleetEffect::Claimed { asker: Asker(4), claim: Claim::Unknown(_) })
    };
    assert!(fx.iter().any(refused), "{fx:?}");
    bench.answer(fx);
    bench.run(5000);
    assert!(bench.seen.contains(&FleetEffect::Stored { asker: Asker(3), result: Ok(()) }));
    assert!(!bench.docs.contains_key("websocket-a"), "it was said to be gone");
    // A document that waits is written, whoever claims the id meanwhile.
    let newer = Bytes::from_static(b"{\"id\":\"a\",\"epoch\":2000001}");
    let mut fx = Vec::new();
    bench.fleet.handle(bench.now, put(5), &mut fx);
    let put = FleetInput::Store { asker: Asker(6), id: id("a"), epoch: 2_000_001, document: newer };
    bench.fleet.handle(bench.now, put, &mut fx);
    bench.fleet.handle(bench.now, FleetInput::Claim { asker: Asker(7), id: id("a") }, &mut fx);
    bench.answer(fx);
    bench.run(3000);
    let claim = Claim::Mine { epoch: 2_000_001 };
    assert!(bench.seen.contains(&FleetEffect::Claimed { asker: Asker(7), claim }));
    assert!(bench.text("websocket-a").contains("2000001"));
}

#[test]
fn an_idle_instance_writes_less_than_once_a_second() {
    let mut bench = Bench::new();
    bench.run(5000);
    let before = bench.writes;
    bench.run(60_000);
    let writes = bench.writes - before;
    assert!((15..=25).contains(&writes), "{writes} writes in a minute");
}

#[test]
fn a_clock_that_jumps_an_hour_fences_and_the_next_name_joins() {
    let mut bench = Bench::new();
    bench.run(3000);
    let before = bench.fleet.me().incarnation.clone();
    bench.now.boot = bench.now.boot + Duration::from_secs(3600);
    let mut fx = Vec::new();
    bench.fleet.tick(bench.now, &mut fx);
    assert!(matches!(&fx[0], FleetEffect::Fence { incarnation } if *incarnation != before));
    assert!(!fx.iter().any(|effect| matches!(effect, FleetEffect::Valid { .. })));
    bench.answer(fx);
    bench.run(5000);
    assert!(bench.fleet.valid_until() > bench.now.boot);
}

#[test]
fn records_of_the_earlier_product_are_taken_and_broken_ones_left_alone() {
    let mut bench = Bench::new();
    let put = |bench: &mut Bench, key: &str, value: &'static [u8]| {
        let doc = Versioned { value: Bytes::from_static(value), version: Version::from_static(b"x") };
        bench.docs.insert(key.to_owned(), doc);
    };
    put(&mut bench, "websocket-index", b"[\"old\",\"broken\",\"gone\",\"not an id\"]");
    put(
        &mut bench,
        "websocket-old",
        b"{\"id\":\"old\",\"url\":\"ws://a/\",\"status\":1,\"instanceId\":\"pod-9\",\"autoReconnect\":true}",
    );
    put(&mut bench, "websocket-broken", b"{\"id\":");
    bench.run(10_000);
    let taken = bench.seen.iter().find_map(|effect| match effect {
        FleetEffect::Take { id, epoch, .. } => Some((id.as_str().to_owned(), *epoch)),
        _ => None,
    });
    assert_eq!(taken, Some(("old".to_owned(), 1_000_000)));
    assert_eq!(bench.text("websocket-broken"), "{\"id\":");
    let told = bench.seen.iter().filter(|effect| matches!(effect, FleetEffect::Trouble(_))).count();
    assert_eq!(told, 1, "told once");
    assert_eq!(bench.text("websocket-index"), "[\"broken\",\"not an id\",\"old\"]");
}

#[test]
fn what_somebody_left_who_is_no_member_any_more_is_taken() {
    let mut bench = Bench::new();
    let dead = LeaseState::Dead;
    let lease = Lease { member: member("gone"), renewals: 3, state: dead, by: None, owned: 0, epoch: 1 };
    let record = Bytes::from_static(b"{\"id\":\"a\",\"url\":\"ws://a/\",\"owner\":\"gone\",\"epoch\":7}");
    let docs = [
        (lease_key("gone"), lease.encode()),
        ("websocket-index".to_owned(), Bytes::from_static(b"[\"a\"]")),
        ("websocket-a".to_owned(), record),
    ];
    for (key, value) in docs {
        bench.docs.insert(key, Versioned { value, version: Version::from_static(b"x") });
    }
    bench.run(20_000);
    assert!(bench.seen.iter().any(|effect| matches!(effect, FleetEffect::Take { .. })), "{:?}", bench.seen);
}

#[test]
fn an_orderly_leave_ends_with_a_lease_that_is_given_back() {
    let mut bench = Bench::new();
    bench.run(3000);
    bench.tell(FleetInput::Leave);
    bench.run(500);
    assert!(bench.text("wsm-lease-pod-w1").contains("\"leaving\""));
    bench.tell(FleetInput::Left);
    bench.run(500);
    assert!(bench.text("wsm-lease-pod-w1").contains("\"left\""));
    assert_eq!(bench.seen.last(), Some(&FleetEffect::Left));
    assert_eq!(bench.fleet.poll_timeout(), Boot::FAR);
}

#[test]
fn a_record_says_who_holds_it() {
    let members = [member("b")];
    let held = |record: &str| holder_of("a", &members, record.as_bytes());
    assert_eq!(held("{\"owner\":\"a\"}"), Holding::Me);
    assert_eq!(held("{\"owner\":\"b\",\"epoch\":3}"), Holding::Member(member("b")));
    assert_eq!(held("{\"owner\":\"c\"}"), Holding::Orphan);
    assert_eq!(held("{\"Id\":\"c\",\"Url\":\"ws://a/\",\"InstanceId\":\"pod\"}"), Holding::Orphan);
    assert!(matches!(held("{\"hello\":\"world\"}"), Holding::Unreadable(_)));
    assert!(matches!(held("[]"), Holding::Unreadable(_)));
    assert!(matches!(held("{\"v\":2,\"owner\":\"a\"}"), Holding::Unreadable(_)));
}

#[test]
fn documents_are_read_leniently() {
    let Read::Good(head) = decode_record(b"{\"id\":\"c\",\"url\":\"u\",\"epoch\":\"12\",\"owner\":\"\"}")
    else {
        panic!()
    };
    assert_eq!((head.owner, head.epoch, head.claim), (None, 12, false));
    assert_eq!(own(b"{\"owner\":\"x\",\"a\":1}", "y").unwrap(), "{\"owner\":\"y\",\"a\":1}");
    assert_eq!(own(b"7", "y"), None);
    let taken = take(b"{\"owner\":\"x\",\"epoch\":1,\"tags\":{\"k\":\"v\"}}", &member("m"), 9).unwrap();
    assert_eq!(
        taken,
        "{\"epoch\":9,\"instanceId\":\"pod\",\"owner\":\"m\",\"previousEpoch\":1,\"tags\":{\"k\":\"v\"}}"
    );
    let Read::Good(mut roster) = Roster::decode(b"[{\"incarnation\":\"m\"},{\"other\":1}]") else { panic!() };
    roster.remove("m");
    assert_eq!(roster.encode(), "[{\"other\":1}]");
    assert!(matches!(Roster::decode(b"{\"v\":9}"), Read::Newer));
    assert!(matches!(decode_ids(b"{}"), Read::Bad(_)));
}
