//! One room's members on this shard, and the pass that writes to them.

use super::*;

impl RoomHere {
    pub(super) fn new(name: RoomName, slow: Slow, numbered_outside: bool) -> Self {
        RoomHere {
            name,
            slow,
            head: Position::default(),
            logs: Default::default(),
            counts: [0; Format::COUNT],
            members: Vec::new(),
            entering: 0,
            pass: 0,
            again: false,
            dirty: false,
            blocked: 0,
            look_at: 0,
            numbered_outside,
        }
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn in_flight(&self) -> u64 {
        let behind = |member: &Member| self.logs[member.format as usize].end() - member.next + member.owed();
        self.members.iter().map(behind).sum()
    }

    /// True: nobody is left to write to now.
    pub(super) fn flush(
        &mut self,
        budget: &mut usize,
        deliveries: &mut Deliveries,
        elsewhere: &dyn Fn(SocketKey, &RoomName, &Message) -> bool,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
        stuck: &mut dyn FnMut(SocketKey, Stuck),
    ) -> bool {
        if self.pass == 0 {
            self.again = false;
        }
        loop {
            while self.pass < self.members.len() {
                if *budget == 0 {
                    return false;
                }
                let member = &self.members[self.pass];
                if !member.blocked && member.next < self.logs[member.format as usize].end() {
                    *budget -= 1;
                    self.push(self.pass, deliveries, elsewhere, write, stuck);
                }
                self.pass += 1;
            }
            self.pass = 0;
            if !std::mem::take(&mut self.again) {
                return true;
            }
        }
    }

    pub(super) fn push(
        &mut self,
        index: usize,
        deliveries: &mut Deliveries,
        elsewhere: &dyn Fn(SocketKey, &RoomName, &Message) -> bool,
        write: &mut dyn FnMut(SocketKey, &[u8]) -> Wrote,
        stuck: &mut dyn FnMut(SocketKey, Stuck),
    ) {
        let member = &mut self.members[index];
        let log = &self.logs[member.format as usize];
        let socket = member.socket;
        if let Some(owed) = member.owed.take() {
            let next = log.frame(member.next).map_or(self.head, Frame::before);
            let had = |message: &Message| elsewhere(socket, &self.name, message);
            let outside = self.numbered_outside;
            let (bytes, repeated) = owed.encode(member.format, &self.name, outside, next, had);
            let wrote = if bytes.is_empty() { Wrote::Taken(0) } else { write(socket, &bytes) };
            match wrote {
                Wrote::Taken(taken) if taken > 0 || bytes.is_empty() => {
                    deliveries.repeated += repeated;
                    deliveries.delivered += owed.kept.len() as u64 - repeated;
                    if taken < bytes.len() {
                        member.blocked = true;
                        self.blocked += 1;
                        return stuck(socket, Stuck::Rest(bytes[taken..].to_vec()));
                    }
                }
                Wrote::Taken(_) | Wrote::Blocked => {
                    member.owed = Some(owed);
                    member.blocked = true;
                    self.blocked += 1;
                    return stuck(socket, Stuck::Blocked);
                }
                Wrote::Gone => {
                    member.owed = Some(owed);
                    return self.awaits_its_end(index);
                }
            }
        }
        while member.next < log.end() {
            let had = |frame: &Frame| {
                frame.message.as_ref().is_some_and(|message| elsewhere(socket, &self.name, message))
            };
            let (bytes, upto) = log.slice(member.next, had);
            if upto == member.next {
                member.next += 1;
                deliveries.repeated += 1;
                continue;
            }
            match write(socket, bytes) {
                Wrote::Taken(taken) if taken == bytes.len() => member.had(upto, deliveries),
                Wrote::Taken(taken) => {
                    let (frame, begun) = log.cut(member.next, taken);
                    member.had(if begun > 0 { frame + 1 } else { frame }, deliveries);
                    let rest = if begun > 0 { log.bytes_of(frame)[begun..].to_vec() } else { Vec::new() };
                    member.blocked = true;
                    self.blocked += 1;
                    return stuck(socket, if rest.is_empty() { Stuck::Blocked } else { Stuck::Rest(rest) });
                }
                Wrote::Blocked => {
                    member.blocked = true;
                    self.blocked += 1;
                    return stuck(socket, Stuck::Blocked);
                }
                Wrote::Gone => return self.awaits_its_end(index),
            }
        }
    }

    /// Its socket failed and its end is on the way: nothing is written to it until then, and what it
    /// has not had stays counted.
    fn awaits_its_end(&mut self, index: usize) {
        self.members[index].blocked = true;
        self.blocked += 1;
    }

    /// Logs keep what somebody still has to get.
    pub(super) fn forget_written(&mut self) {
        let mut low = [u64::MAX; Format::COUNT];
        let mut behind = false;
        if self.blocked > 0 || self.dirty {
            for member in &self.members {
                let low = &mut low[member.format as usize];
                *low = (*low).min(member.next);
                behind = true;
            }
        }
        for (log, low) in self.logs.iter_mut().zip(low) {
            let upto = if behind { low.min(log.end()) } else { log.end() };
            log.forget(upto);
        }
        if self.blocked == 0 {
            self.look_at = 0;
        }
    }

    pub(super) fn check(&self) {
        let mut counts = [0; Format::COUNT];
        for member in &self.members {
            counts[member.format as usize] += 1;
            let log = &self.logs[member.format as usize];
            assert!(member.next >= log.first() && member.next <= log.end(), "a member outside its log");
            let has_all = member.next == log.end();
            assert!(member.owed.is_none() || member.blocked, "{}: owed to one who could have it", self.name);
            assert!(has_all || member.blocked || self.dirty, "{}: a member is forgotten", self.name);
        }
        assert_eq!(counts, self.counts, "{}: members by format", self.name);
        let blocked = self.members.iter().filter(|member| member.blocked).count();
        assert_eq!(blocked, self.blocked as usize, "{}: blocked members", self.name);
        for log in &self.logs {
            log.check();
        }
    }
}
