//! What is on its way to one subscriber: bounded, and over when the subscriber is too slow for it.

use crate::{
    core::{
        names::RoomName,
        rooms::{Message, Position},
    },
    limits,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// How a wish for a room was answered.
#[derive(Debug)]
pub struct Head {
    pub room: RoomName,
    /// The last number before those that come, or why none come.
    pub head: Result<Position, String>,
}

#[derive(Debug)]
pub enum Item {
    Heads(Vec<Head>),
    /// With the rooms that the subscriber wants of it.
    Message(Arc<Message>, Vec<(RoomName, Position)>),
    Over(RoomName),
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// More was on its way than is allowed.
    TooSlow,
    Closed,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    ended: Option<Ended>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub struct Flow(Mutex<State>);

impl Flow {
    /// False when it is over: the subscriber is to be forgotten.
    pub fn push(&self, item: Item) -> bool {
        let mut state = self.0.lock();
        if state.ended.is_some() {
            return false;
        }
        let bytes = cost(&item);
        if state.queue.len() >= limits::ROOM_FLOW_MESSAGES || state.bytes + bytes > limits::ROOM_FLOW_BYTES {
            drop(state);
            self.end(Ended::TooSlow);
            return false;
        }
        if let (Some(Item::Message(last, rooms)), Item::Message(message, more)) =
            (state.queue.back_mut(), &item)
            && Arc::ptr_eq(last, message)
        {
            rooms.extend(more.iter().cloned());
            return true;
        }
        state.bytes += bytes;
        state.queue.push_back(item);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    pub fn end(&self, why: Ended) {
        let mut state = self.0.lock();
        state.queue.clear();
        state.bytes = 0;
        state.ended.get_or_insert(why);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn is_over(&self) -> bool {
        self.0.lock().ended.is_some()
    }

    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Item, Ended>> {
        let mut state = self.0.lock();
        if let Some(item) = state.queue.pop_front() {
            state.bytes -= cost(&item);
            return Poll::Ready(Ok(item));
        }
        if let Some(ended) = state.ended {
            return Poll::Ready(Err(ended));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The same for an item however many rooms were added to it.
fn cost(item: &Item) -> usize {
    match item {
        Item::Message(message, _) => message.payload.len() + 256,
        Item::Heads(heads) => heads.len() * 64,
        Item::Over(_) => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{correlation::Kind, time::Wall};
    use std::task::Waker;

    fn message(bytes: usize) -> Item {
        let payload = vec![0; bytes].into();
        let message =
            Message { kind: Kind::Binary, payload, wall: Wall::default(), places: Arc::from([]), from: None };
        Item::Message(Arc::new(message), vec![(RoomName::everyone(), Position::default())])
    }

    fn next(flow: &Flow) -> Poll<Result<Item, Ended>> {
        flow.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_is_too_slow_gets_nothing_more_and_is_told_so() {
        let flow = Flow::default();
        assert!(next(&flow).is_pending());
        let half = limits::ROOM_FLOW_BYTES / 2;
        assert!(flow.push(message(half)));
        assert!(matches!(next(&flow), Poll::Ready(Ok(Item::Message(..)))));
        assert!(flow.push(message(half)), "what was taken counts no more");
        assert!(!flow.push(message(half)) && !flow.push(message(1)));
        assert!(matches!(next(&flow), Poll::Ready(Err(Ended::TooSlow))));
        assert!(flow.is_over());
    }

    #[test]
    fn a_message_for_several_rooms_goes_once() {
        let flow = Flow::default();
        let Item::Message(message, rooms) = message(10) else { unreachable!() };
        for _ in 0..3 {
            assert!(flow.push(Item::Message(message.clone(), rooms.clone())));
        }
        let Poll::Ready(Ok(Item::Message(_, rooms))) = next(&flow) else { panic!("nothing came") };
        assert_eq!(rooms.len(), 3);
        assert!(next(&flow).is_pending());
    }
}
