//! The verdict: what the bus took, against what every source was given numbers for.

use super::*;

impl World {
    pub fn judge(&self) {
        let counters = self.publisher.counters();
        assert_eq!(counters.accepted, counters.delivered + counters.dropped_in_all());
        let mut copies: BTreeMap<String, &[u8]> = BTreeMap::new();
        let mut lanes: BTreeMap<&ConnectionId, Vec<ParsedMessage>> = BTreeMap::new();
        for (_, connection, json) in &self.taken {
            let event: serde_json::Value = serde_json::from_slice(json).unwrap();
            let id = event["id"].as_str().unwrap().to_owned();
            match copies.get(&id) {
                Some(first) => assert_eq!(*first, json, "one id, two events"),
                None => lanes.entry(connection).or_default().extend(parse_event(json)),
            }
            copies.entry(id).or_insert(json);
        }
        let mut delivered = 0;
        for source in &self.sources {
            delivered += judge_lane(source, lanes.get(&source.id).map_or(&[], Vec::as_slice));
        }
        if counters.dropped_by(DropReason::BusRefused) == 0 {
            assert_eq!(delivered, counters.delivered);
        }
    }
}

/// Returns how many messages came.
fn judge_lane(source: &Source, stream: &[ParsedMessage]) -> u64 {
    let mut came = BTreeSet::new();
    let mut gaps = Vec::new();
    let mut newest = (0, 0);
    for item in stream {
        let at = (item.epoch, item.seq);
        let payload = match &item.body {
            Body::Text(text) => text.as_bytes(),
            Body::Binary(bytes) => bytes,
            Body::Gap(gap) => {
                if !matches!(gap.cause, GapCause::Refused) {
                    assert!(newest < gap.to.unwrap(), "{newest:?} came before {gap:?}");
                    let start = (gap.from.0, gap.from.1.unwrap());
                    newest = newest.max(start);
                }
                gaps.push(*gap);
                continue;
            }
            Body::End { epoch, last_seq } => {
                assert!(newest <= (*epoch, *last_seq));
                continue;
            }
            Body::Foreign(_) => continue,
        };
        assert_eq!(Some(payload), source.stamped.get(&at).map(Vec::as_slice), "{at:?}");
        assert!(came.insert(at));
        if source.spec.ordering == Ordering::Ordered {
            assert!(newest < at, "{newest:?} came before {at:?} in {:?}", source.spec);
        }
        newest = newest.max(at);
    }
    let missing = source.stamped.keys().filter(|at| !came.contains(at));
    for missing in missing.filter(|(epoch, _)| *epoch >= source.superseded) {
        let inside = |gap: &Gap| (gap.from.0, gap.from.1.unwrap()) < *missing && *missing < gap.to.unwrap();
        assert!(gaps.iter().any(inside), "{missing:?} is missing without a gap: {:?} {gaps:?}", source.spec);
    }
    came.len() as u64
}
