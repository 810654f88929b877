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
        let (from, mut keep) = (member.next, Vec::new());
        let upto = match &self.slow {
            Slow::Close => {
                deliveries.dropped_closed += log.end() - from;
                log.end()
            }
            Slow::DropOldest => {
                // Half of what it may be behind: the next message must not overtake it again.
                let mut upto = from;
                while log.behind_bytes(upto) > bytes_max / 2 && upto < log.end() {
                    upto += 1;
                }
                deliveries.dropped_oldest += upto - from;
                upto
            }
            Slow::KeepLatest(pointer) => {
                keep = latest(log, from, pointer.as_deref());
                deliveries.dropped_latest += log.end() - from - keep.len() as u64;
                deliveries.delivered += keep.len() as u64;
                log.end()
            }
        };
        let at = |number: u64| log.frame(number).map(|frame| frame.at);
        let first = at(from).unwrap_or(self.head);
        let gap = RoomGap {
            from: Position { offset: first.offset.saturating_sub(1), ..first },
            to: at(upto).unwrap_or(Position { offset: self.head.offset + 1, ..self.head }),
            cause: RoomGapCause::SlowReader,
        };
        let lost = upto - from - keep.len() as u64;
        member.next = upto;
        into.push(Overtaken {
            socket: member.socket,
            room: self.name.clone(),
            slow: self.slow.clone(),
            format: member.format,
            gap,
            lost,
            keep,
        });
    }
}

/// The last message of each key, or the last at all, in order.
fn latest(log: &Log, from: u64, pointer: Option<&str>) -> Vec<(Position, Arc<Message>)> {
    let pointer = pointer.and_then(|text| crate::core::json::Pointer::parse(text).ok());
    let mut keys: Vec<Option<&[u8]>> = Vec::new();
    let mut kept = Vec::new();
    for number in (from..log.end()).rev() {
        let Some(frame) = log.frame(number) else { break };
        let Some(message) = &frame.message else { continue };
        let key = pointer.as_ref().and_then(|pointer| crate::core::json::pointer(&message.payload, pointer));
        if !keys.contains(&key) {
            keys.push(key);
            kept.push((frame.at, message.clone()));
        }
        if pointer.is_none() || keys.len() >= LATEST_KEYS_MAX {
            break;
        }
    }
    kept.reverse();
    kept
}

/// Keys that one slow reader keeps a message of.
const LATEST_KEYS_MAX: usize = 256;
