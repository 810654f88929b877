//! A message on its way to the sequencers of its rooms. One of them takes it in one step. Several
//! first give numbers and then get the message with all of them, so that a member of several rooms
//! knows it when it comes again.

use super::{Shared, failed, gone, wire};
use crate::{
    api::peers::{
        fault::not_sent,
        link::{Calling, Ended},
    },
    core::{
        names::RoomName,
        reason::{Certainty, Fault, FaultKind},
        rooms::{Kept, Message, Place, Position, Post},
    },
    limits,
    ports::BackendError,
    proto::fleet::{Call, RoomFill, RoomReserve, call::Rpc, reply::Outcome},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::{Instant, sleep, timeout_at};

/// By name, each once.
pub fn in_order(rooms: &[RoomName]) -> Arc<[RoomName]> {
    let mut rooms = rooms.to_vec();
    rooms.sort();
    rooms.dedup();
    rooms.into()
}

/// Rooms by their sequencers; None: this instance.
type Groups = BTreeMap<Option<Arc<str>>, Vec<RoomName>>;

/// Where a part of a message stands with one of several sequencers.
type Reserved = (Option<Arc<str>>, Vec<Place>);

impl Shared {
    pub(super) async fn publish(&self, rooms: Arc<[RoomName]>, post: Post) -> Result<Vec<Place>, Fault> {
        let mut groups = Groups::new();
        for (room, sequencer) in rooms.iter().zip(self.numbering.sequencers(&rooms)) {
            groups.entry(sequencer).or_default().push(room.clone());
        }
        if groups.len() > 1 {
            return self.publish_to_several(groups, post).await;
        }
        match groups.into_keys().next().flatten() {
            None => self.numbering.post(&rooms, post),
            Some(there) => {
                let call = self.call(&there, Rpc::RoomPost(wire::to_post(&rooms, post)))?;
                match self.answer(call, &there, deadline()).await? {
                    Outcome::RoomPost(answer) => wire::from_places(&answer.places),
                    _ => Err(strange()),
                }
            }
        }
    }

    async fn publish_to_several(&self, groups: Groups, post: Post) -> Result<Vec<Place>, Fault> {
        let wall = self.numbering.now().wall.to_micros();
        let alone = groups.get(&None).into_iter().flatten().any(|room| self.numbering.is_alone(room));
        let (reserved, trouble) = self.reserve(groups).await;
        if let Some(fault) = trouble {
            // Nothing but numbers went out.
            self.release(reserved);
            let kind = if fault.kind == FaultKind::Full { FaultKind::Full } else { FaultKind::NotSent };
            return Err(Fault { kind, ..fault }.with_certainty(Certainty::NotSent));
        }
        let mut places: Vec<Place> = reserved.iter().flat_map(|(_, places)| places.clone()).collect();
        places.sort_by(|a, b| a.room.cmp(&b.room));
        let from = alone.then(|| self.instance.clone());
        let Post { kind, payload } = post;
        let message = Message { kind, payload, wall, places: places.clone().into(), from };
        self.fill(reserved, Arc::new(message)).await.map(|()| places)
    }

    /// What was reserved, and why not all was.
    async fn reserve(&self, groups: Groups) -> (Vec<Reserved>, Option<Fault>) {
        let (mut reserved, mut calls, mut trouble) = (Vec::new(), Vec::new(), None);
        for (sequencer, rooms) in groups {
            let Some(there) = sequencer else {
                match self.numbering.reserve(&rooms) {
                    Ok(places) => reserved.push((None, places)),
                    Err(fault) => trouble = Some(fault),
                }
                continue;
            };
            match self.call(&there, Rpc::RoomReserve(RoomReserve { rooms: wire::names(&rooms) })) {
                Ok(call) => calls.push((there, call)),
                Err(fault) => trouble = Some(fault),
            }
        }
        let until = Instant::now() + limits::ROOM_FILL_PATIENCE;
        for (there, call) in calls {
            let answer = self.answer(call, &there, until).await.and_then(|outcome| match outcome {
                Outcome::RoomReserve(answer) => wire::from_places(&answer.places),
                _ => Err(strange()),
            });
            match answer {
                Ok(places) => reserved.push((Some(there), places)),
                Err(fault) => trouble = Some(fault),
            }
        }
        (reserved, trouble)
    }

    /// Numbers that nobody will use; without an answer they are given up by themselves.
    fn release(&self, reserved: Vec<Reserved>) {
        for (sequencer, places) in reserved {
            match sequencer {
                None => {
                    // Given up already: then nothing is left to be released.
                    let _ = self.numbering.fill(&places, None);
                }
                Some(there) => {
                    let fill = RoomFill { places: wire::to_places(&places), message: None };
                    if let Ok(call) = self.call(&there, Rpc::RoomFill(fill)) {
                        tokio::spawn(call);
                    }
                }
            }
        }
    }

    async fn fill(&self, reserved: Vec<Reserved>, message: Arc<Message>) -> Result<(), Fault> {
        let (mut calls, mut unsent, mut filled, mut trouble) = (Vec::new(), Vec::new(), 0, None);
        for (sequencer, places) in reserved {
            let Some(there) = sequencer else {
                unsent.push((None, places));
                continue;
            };
            let written = Some(wire::to_message(&message));
            let fill = RoomFill { places: wire::to_places(&places), message: written };
            match self.call(&there, Rpc::RoomFill(fill)) {
                Ok(call) => calls.push((there, places, call)),
                Err(fault) => {
                    trouble = Some(fault);
                    unsent.push((Some(there), places));
                }
            }
        }
        let until = deadline();
        for (there, places, call) in calls {
            match self.answer(call, &there, until).await {
                Ok(_) => filled += 1,
                Err(fault) => {
                    let nothing = fault.certainty == Some(Certainty::NotSent);
                    filled += usize::from(!nothing);
                    trouble = Some(fault);
                    if nothing {
                        unsent.push((Some(there), places));
                    }
                }
            }
        }
        if let Some(fault) = trouble.take_if(|_| filled == 0) {
            self.release(unsent);
            return Err(fault.with_certainty(Certainty::NotSent));
        }
        for (_, places) in unsent.iter().filter(|(there, _)| there.is_none()) {
            if let Err(fault) = self.numbering.fill(places, Some(message.clone())) {
                trouble = Some(fault);
            }
        }
        match trouble {
            None => Ok(()),
            Some(fault) => {
                let why = format!("the message may have reached only some of its rooms: {fault}");
                Err(Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent))
            }
        }
    }

    /// Reads, so it is asked again while the room changes its sequencer.
    pub(super) async fn read_since(
        &self,
        room: RoomName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Kept, BackendError> {
        let until = deadline();
        loop {
            let fault = match self.since_once(&room, after, limit, until).await {
                Ok(kept) => return Ok(kept),
                Err(fault) => fault,
            };
            if Instant::now() + limits::ROOM_RETRY >= until {
                return Err(failed(format!("the history of the room cannot be read now: {fault}")));
            }
            sleep(limits::ROOM_RETRY).await;
        }
    }

    async fn since_once(
        &self,
        room: &RoomName,
        after: Option<Position>,
        limit: usize,
        until: Instant,
    ) -> Result<Kept, Fault> {
        let sequencer = self.numbering.sequencers(std::slice::from_ref(room)).into_iter().next().flatten();
        let Some(there) = sequencer else { return self.numbering.since(room, after, limit) };
        let call = self.call(&there, Rpc::RoomSince(wire::to_since(room, after, limit)))?;
        match self.answer(call, &there, until).await? {
            Outcome::RoomSince(kept) => wire::from_kept(kept),
            _ => Err(strange()),
        }
    }

    /// Handed to the stream in the order of these calls.
    pub(super) fn call(&self, there: &Arc<str>, rpc: Rpc) -> Result<Calling, Fault> {
        let member = self.fleet.member(there).ok_or_else(|| gone(there))?;
        let milliseconds = u64::try_from(limits::ROOM_CALL_DEADLINE.as_millis()).ok();
        self.links
            .to(&member)
            .start(Call { deadline_ms: milliseconds, rpc: Some(rpc), ..Call::default() })
            .map_err(|fault| Fault { retry_after: Some(limits::ROOM_RETRY), ..fault })
    }

    pub(super) async fn answer(
        &self,
        call: Calling,
        there: &Arc<str>,
        until: Instant,
    ) -> Result<Outcome, Fault> {
        let doubt = |why: String| Fault::new(FaultKind::MaybeSent, why).with_certainty(Certainty::MaybeSent);
        match timeout_at(until, call).await {
            Ok(Ended::Answered(outcome)) => Ok(*outcome),
            Ok(Ended::Refused(fault)) => Err(fault),
            Ok(Ended::NotSent(why)) => Err(Fault { retry_after: Some(limits::ROOM_RETRY), ..not_sent(why) }),
            Ok(Ended::Broken(why)) => Err(doubt(why)),
            Err(_) => Err(doubt(format!("instance '{there}', which numbers the room, does not answer"))),
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + limits::ROOM_CALL_DEADLINE
}

fn strange() -> Fault {
    Fault::new(FaultKind::Internal, "an answer of another kind")
}
