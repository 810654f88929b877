//! What happens to instances: they crash, stall and leave.

use super::*;

impl World {
    pub fn upset(&mut self) {
        let number = self.random.below(3) as usize;
        if !self.runs(number) || self.nodes[number].leaving {
            return;
        }
        let quiet = self.nodes.iter().all(|node| node.alive && node.stalled_until <= self.millis);
        // Where who leaves sees one that has just come, and the next does not yet, numbers begin anew:
        // that is announced, but it is a loss.
        let seen = self.nodes.iter().all(|node| node.joined + 5_000 < self.millis);
        let orderly = quiet && (seen || self.trouble == Trouble::CrashesAndStalls);
        match self.random.below(3) {
            0 if self.trouble == Trouble::CrashesAndStalls && quiet => {
                self.nodes[number].alive = false;
                self.nodes[number].sent.clear();
                self.cut(number);
            }
            1 if self.trouble == Trouble::CrashesAndStalls && quiet => {
                self.nodes[number].stalled_until = self.millis + self.random.below(30_000);
            }
            2 if orderly => self.leave(number),
            _ => {}
        }
    }

    /// Streams from it are over: who listened finds that out.
    fn cut(&mut self, number: usize) {
        for node in &mut self.nodes {
            for heard in node.heard.values_mut() {
                heard.source.take_if(|(source, _)| *source == number);
            }
        }
        for node in &mut self.nodes {
            node.sequencer.gone(number as u64);
        }
    }

    fn leave(&mut self, number: usize) {
        let mut out = Vec::new();
        let at = now(self.millis);
        self.nodes[number].leaving = true;
        let moves = self.nodes[number].sequencer.leave(at, &mut out);
        self.send(number, out);
        self.queue(number, moves);
    }

    /// Who leaves is gone when it has handed everything over.
    pub fn let_leave(&mut self) {
        for number in 0..3 {
            let handed = !self.moves.iter().any(|(_, from, ..)| *from == number);
            let node = &mut self.nodes[number];
            if node.leaving && node.alive && handed && node.sent.is_empty() {
                node.alive = false;
                node.ended = Some(self.millis);
                self.cut(number);
            }
        }
    }
}
