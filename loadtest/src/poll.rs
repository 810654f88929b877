//! Which of many sockets have something, and a timer as fine as the kernel's: for threads that hold
//! thousands of sockets without a runtime.

use crate::clock::SECOND;
use rustix::{
    event::epoll,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec},
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

/// What the timer is told as; no socket has this number.
const TIMER: u64 = u64::MAX;
const EVENTS_MAX: usize = 512;

pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub number: u64,
    pub readable: bool,
    pub writable: bool,
}

/// What is waited for at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub read: bool,
    pub write: bool,
}

pub const READ: Interest = Interest { read: true, write: false };

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.read);
        flags.set(epoll::EventFlags::OUT, self.write);
        flags
    }
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), READ.flags())?;
        Ok(Poll { epoll, timer, armed: None })
    }

    pub fn add(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(number), interest.flags())?)
    }

    pub fn change(&self, socket: impl AsFd, number: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(number), interest.flags())?)
    }

    /// Waits until something is ready, or until then, and puts what it is into `ready`: nothing when
    /// nothing was. A signal ends it early.
    pub fn wait(&mut self, until: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        if self.armed != Some(until) {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            // A zero would switch the timer off.
            let until = until.max(1);
            let at =
                Timespec { tv_sec: (until / SECOND).cast_signed(), tv_nsec: (until % SECOND).cast_signed() };
            let when = Itimerspec { it_interval: none, it_value: at };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &when)?;
            self.armed = Some(until);
        }
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS_MAX];
        let seen = match epoll::wait(&self.epoll, &mut events, None) {
            Ok((seen, _)) => seen,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in seen.iter() {
            let (number, flags) = (event.data.u64(), event.flags);
            if number == TIMER {
                let mut expired = [0; 8];
                let _ = rustix::io::read(&self.timer, &mut expired);
                self.armed = None;
                continue;
            }
            let over = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            ready.push(Ready {
                number,
                readable: over || flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
            });
        }
        Ok(())
    }
}
