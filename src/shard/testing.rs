//! A shard that answers as a test says.

use super::mailbox::{Mail, Mailbox};
use crate::core::io::{Command, Outcome};
use std::{future::poll_fn, sync::Arc, task::Poll};

/// How a scripted shard answers one command, now or later; dropped it never does.
pub type Answering = Box<dyn FnOnce(Outcome) + Send>;

/// Takes commands from the mailbox as long as it runs.
pub async fn scripted(mailbox: Arc<Mailbox>, mut script: impl FnMut(Command, Answering)) {
    poll_fn(|cx| {
        mailbox.woken_by(cx.waker());
        loop {
            while let Some(letter) = mailbox.take() {
                if let Mail::Command { command, reply, .. } = letter.mail {
                    script(command, Box::new(move |outcome| reply.send(outcome)));
                }
            }
            if mailbox.sleep() {
                return Poll::Pending;
            }
        }
    })
    .await
}
