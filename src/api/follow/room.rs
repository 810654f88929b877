//! Following a room: its home is asked for what comes after a position. Where something outside
//! keeps rooms, that is asked for what the home does not have.

use super::{From, Opened, Reader, Sender, push, run};
use crate::{
    api::convert,
    core::{
        io::{Answer, Command},
        reason::{Fault, FaultKind, GapCause},
        rooms::{Kept, Message, Position, RoomAnswer, RoomCommand, RoomName},
    },
    limits,
    ports::RoomBus,
    proto::{Gap, ReceivedMessage, received_message::Body},
    wire::cursor::{Cursor, CursorKind},
};
use std::sync::Arc;
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

/// Where a room's messages are kept.
pub struct RoomLog {
    pub reader: Reader,
    /// Keeps more than the home here.
    pub bus: Option<Arc<dyn RoomBus>>,
    pub room: RoomName,
}

impl RoomLog {
    /// What is kept after a position, oldest first; the last messages when there is none.
    pub async fn since(&self, after: Option<Position>, limit: usize) -> Result<Kept, Fault> {
        let Some(bus) = &self.bus else {
            return self.ask(RoomCommand::History { room: self.room.clone(), after, limit }).await;
        };
        let (answer, answered) = oneshot::channel();
        bus.since(&self.room, after, limit, Box::new(move |kept| drop(answer.send(kept))));
        match answered.await {
            Ok(Ok(kept)) => Ok(kept),
            Ok(Err(error)) => Err(Fault::new(FaultKind::Unavailable, error.message)),
            Err(_) => Err(Fault::new(FaultKind::Unavailable, "what keeps rooms has stopped")),
        }
    }

    /// What comes after a position, as soon as there is something.
    async fn next(&self, after: Position) -> Result<Kept, Fault> {
        let (room, limit) = (self.room.clone(), limits::ROOM_HISTORY_PAGE);
        let kept = self.ask(RoomCommand::Follow { room, after: Some(after), limit }).await?;
        if kept.recovered || self.bus.is_none() {
            return Ok(kept);
        }
        // While the outside cannot be asked, what the home has comes with a gap record.
        let outside = self.since(Some(after), limit).await.ok();
        Ok(outside.filter(|outside| !outside.messages.is_empty()).unwrap_or(kept))
    }

    async fn ask(&self, command: RoomCommand) -> Result<Kept, Fault> {
        let Reader { hub, context, .. } = &self.reader;
        let home = self.room.home(hub.shards());
        match hub.call(home, context.clone(), Command::Room(command)).await? {
            Answer::Room(RoomAnswer::Kept(kept)) => Ok(*kept),
            _ => Err(Fault::new(FaultKind::Internal, "an answer of another kind")),
        }
    }
}

pub async fn room(log: RoomLog, from: From<'_>) -> Result<Opened<ReceivedMessage>, Fault> {
    let after = match from {
        From::Now => None,
        From::Start => Some(Position::default()),
        From::After(cursor) => Some(position(&log.room, cursor)?),
    };
    let limit = if after.is_some() { limits::ROOM_HISTORY_PAGE } else { 1 };
    let first = log.since(after, limit).await?;
    let readiness = log.reader.readiness.clone();
    let follower = Follower { at: after.unwrap_or(first.head), log };
    let cursor = after.is_none().then(|| follower.cursor(follower.at));
    // Who begins now wants none of what was before.
    let first = Some(first).filter(|_| after.is_some());
    Ok(Opened { cursor, flow: run(readiness, move |sender| Box::pin(follower.follow(first, sender))) })
}

fn position(room: &RoomName, cursor: &str) -> Result<Position, Fault> {
    match Cursor::decode_for(cursor, CursorKind::Room)? {
        Cursor::Room { room: given, epoch, offset } if *given == *room.as_str() => {
            Ok(Position { epoch, offset })
        }
        _ => Err(Fault::invalid("cursor", "is of another room")),
    }
}

struct Follower {
    log: RoomLog,
    /// The last message that was delivered or announced as missing. Epoch 0: none was, and nothing
    /// can be missed.
    at: Position,
}

impl Follower {
    async fn follow(mut self, first: Option<Kept>, sender: Sender<ReceivedMessage>) -> Result<(), Fault> {
        if let Some(first) = first {
            self.step_back(first.head, &sender).await?;
            self.deliver(&first, &sender).await?;
        }
        loop {
            let before = self.at;
            let kept = self.log.next(self.at).await?;
            self.deliver(&kept, &sender).await?;
            if self.at == before {
                // Woken for nothing: others have their turn before it is asked again.
                tokio::task::yield_now().await;
            }
        }
    }

    /// The room is numbered below the cursor by now: what numbered it then has lost its state.
    async fn step_back(&mut self, head: Position, sender: &Sender<ReceivedMessage>) -> Result<(), Fault> {
        if head.epoch == 0 || head >= self.at {
            return Ok(());
        }
        self.push_gap(GapCause::NewEpoch, after(head), None, sender).await?;
        self.at = head;
        Ok(())
    }

    async fn deliver(&mut self, kept: &Kept, sender: &Sender<ReceivedMessage>) -> Result<(), Fault> {
        for message in &kept.messages {
            self.deliver_one(message, sender).await?;
        }
        // Numbers were given, and nothing of them is kept.
        if kept.messages.is_empty() && kept.head > self.at {
            self.tell_gap(after(kept.head), sender).await?;
            self.at = kept.head;
        }
        Ok(())
    }

    async fn deliver_one(
        &mut self,
        message: &Message,
        sender: &Sender<ReceivedMessage>,
    ) -> Result<(), Fault> {
        let room = &self.log.room;
        let (Some(at), Some(mut received)) = (message.at(room), convert::room_received(message, room)) else {
            return Ok(());
        };
        if at <= self.at {
            return Ok(());
        }
        self.tell_gap(at, sender).await?;
        self.at = at;
        received.cursor = self.cursor(at);
        push(sender, received).await
    }

    /// What is missing before this position, if something is.
    async fn tell_gap(&self, to: Position, sender: &Sender<ReceivedMessage>) -> Result<(), Fault> {
        if self.at.epoch == 0 {
            return Ok(());
        }
        if self.at.epoch != to.epoch {
            return self.push_gap(GapCause::NewEpoch, to, None, sender).await;
        }
        match to.offset.saturating_sub(self.at.offset + 1) {
            0 => Ok(()),
            count => self.push_gap(GapCause::NotRetained, to, Some(count), sender).await,
        }
    }

    async fn push_gap(
        &self,
        cause: GapCause,
        to: Position,
        count: Option<u64>,
        sender: &Sender<ReceivedMessage>,
    ) -> Result<(), Fault> {
        let gap = Gap {
            from_epoch: self.at.epoch,
            from_seq: Some(self.at.offset),
            to_epoch: to.epoch,
            to_seq: to.offset,
            cause: cause.name().to_owned(),
            count,
        };
        let before = Position { offset: to.offset.saturating_sub(1), ..to };
        let message = ReceivedMessage {
            cursor: self.cursor(before),
            room: self.log.room.to_string(),
            epoch: before.epoch,
            offset: before.offset,
            body: Some(Body::Gap(gap)),
            ..Default::default()
        };
        push(sender, message).await
    }

    fn cursor(&self, at: Position) -> String {
        let room = self.log.room.as_str().into();
        Cursor::Room { room, epoch: at.epoch, offset: at.offset }.encode()
    }
}

/// The number that comes next in this epoch.
fn after(head: Position) -> Position {
    Position { offset: head.offset + 1, ..head }
}
