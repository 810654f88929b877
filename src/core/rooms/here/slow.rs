//! Members that read too slowly: what the room's log can keep for them no longer.

use super::*;

impl RoomHere {
    pub(super) fn overtake(
        &mut self,
        index: usize,
        bytes_max: usize,
        deliveries: &mut Deliveries,
        into: &mut Vec<Overtaken>,
    ) {
        let member = &mut self.members[index];
        let log = &self.logs[member.format as usize];
        if !member.blocked || log.behind_bytes(member.next) <= bytes_max {
            return;
        }
        let from = log.frame(member.next).map_or(self.head, Frame::before);
        let behind = log.end() - member.next;
        match &self.slow {
            Slow::Close => {
                deliveries.dropped_closed += behind + member.owed();
                member.owed = None;
                member.next = log.end();
            }
            Slow::DropOldest => {
                // Half of what it may be behind: the next message must not overtake it again.
                let mut upto = member.next;
                while log.behind_bytes(upto) > bytes_max / 2 && upto < log.end() {
                    upto += 1;
                }
                deliveries.dropped_oldest += upto - member.next;
                member.owed.get_or_insert_with(|| Box::new(Owed { from, kept: Vec::new() }));
                member.next = upto;
            }
            Slow::KeepLatest(pointer) => {
                let earlier = member.owed();
                let owed = member.owed.get_or_insert_with(|| Box::new(Owed { from, kept: Vec::new() }));
                owed.kept = latest(log, member.next, &owed.kept, bytes_max, pointer.as_deref());
                deliveries.dropped_latest += behind + earlier - owed.kept.len() as u64;
                member.next = log.end();
            }
        }
        into.push(Overtaken { socket: member.socket, slow: self.slow.clone() });
    }
}

impl Owed {
    /// As it goes on the wire before a frame that comes after `next`, and how many of those that were
    /// kept the socket has from another room.
    pub(super) fn encode(
        &self,
        format: Format,
        room: &RoomName,
        numbered_outside: bool,
        next: Position,
        had: impl Fn(&Message) -> bool,
    ) -> (Vec<u8>, u64) {
        let (mut log, mut last, mut repeated) = (Log::default(), self.from, 0);
        let missing = |log: &mut Log, from: Position, to: Position| {
            let whole = from.epoch == to.epoch && to.offset <= from.offset + 1;
            if format == Format::Numbered && !whole {
                let gap = RoomGap { from, to, cause: RoomGapCause::SlowReader };
                log.append_note(from, &crate::wire::members::gap(room, &gap));
            }
        };
        for (at, message) in &self.kept {
            if message.is_counted(numbered_outside) {
                missing(&mut log, last, *at);
                last = *at;
            }
            if had(message) {
                repeated += 1;
            } else {
                log.append(format, room, *at, message);
            }
        }
        if next > last {
            missing(&mut log, last, Position { offset: next.offset + 1, ..next });
        }
        (log.into_bytes(), repeated)
    }
}

/// The last message of each key, or the last at all, in order: of what was kept before, and of the log
/// from this frame on.
fn latest(
    log: &Log,
    from: u64,
    earlier: &[(Position, Arc<Message>)],
    bytes_max: usize,
    pointer: Option<&str>,
) -> Vec<(Position, Arc<Message>)> {
    let pointer = pointer.and_then(|text| crate::core::json::Pointer::parse(text).ok());
    let frames = (from..log.end()).rev().filter_map(|number| log.frame(number));
    let newest = frames.filter_map(|frame| Some((frame.at, frame.message.as_ref()?)));
    let before = earlier.iter().rev().map(|(at, message)| (*at, message));
    let mut keys: Vec<Option<&[u8]>> = Vec::new();
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for (at, message) in newest.chain(before) {
        let key = pointer.as_ref().and_then(|pointer| crate::core::json::pointer(&message.payload, pointer));
        if keys.contains(&key) {
            continue;
        }
        bytes += message.payload.len();
        if !keys.is_empty() && bytes > bytes_max {
            break;
        }
        keys.push(key);
        kept.push((at, message.clone()));
        if pointer.is_none() || keys.len() >= LATEST_KEYS_MAX {
            break;
        }
    }
    kept.reverse();
    kept
}

/// Keys that one slow reader keeps a message of.
const LATEST_KEYS_MAX: usize = 256;
