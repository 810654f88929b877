//! Follows messages of a running service in a terminal.
//!
//! A service that goes away is waited for, and following goes on after the last message that was
//! printed; what was lost meanwhile the service says itself, as a gap.

mod line;

use super::{Failure, client::Target};
use crate::{
    config::{
        Config,
        cli::{Tail, TailSource},
    },
    limits,
    proto::{
        ReceiveRequest, ReceivedMessage, TagFilter, TagFilters, receive_request::Source,
        web_socket_manager_client::WebSocketManagerClient,
    },
};
use line::Style;
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tonic::{Code, Status};

#[cfg(test)]
mod tests;

/// The first wait for a service that went away, doubling up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A service that starts has not taken up all its stored connections yet: NOT_FOUND is believed
/// when it was said this often.
const ABSENCES: u32 = 4;
/// Beside the message itself: its fields, and the escapes of its JSON forms.
const OVERHEAD: usize = 64 * 1024;

pub fn run(config: &Config, tail: &Tail) -> Result<u8, Failure> {
    let target = Target::of(config, tail.url.as_deref())?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut follower = Follower::new(target, tail);
        tokio::select! {
            biased;
            _ = interrupt.recv() => Ok(0),
            _ = terminate.recv() => Ok(0),
            ended = follower.follow() => ended.map(|()| 0),
        }
    })
}

/// How one call came to its end.
enum End {
    /// Nobody reads what is printed.
    Unread,
    /// The service is not there, or no longer.
    Lost(String),
    /// There is nothing to follow, or no longer.
    Absent(String),
    /// Asking again would change nothing.
    Refused(String),
}

struct Follower {
    target: Target,
    request: ReceiveRequest,
    what: String,
    printer: Printer,
    /// The service answered once: from then on it is waited for.
    begun: bool,
    /// Since it was lost.
    waiting: bool,
    absences: u32,
    pause: Duration,
}

impl Follower {
    fn new(target: Target, tail: &Tail) -> Self {
        let cursor = tail.cursor.clone().unwrap_or_default();
        let (source, what) = source(&tail.source);
        Follower {
            target,
            request: ReceiveRequest { source: Some(source), cursor, from_start: tail.from_start },
            what,
            printer: Printer::new(tail.json),
            begun: false,
            waiting: false,
            absences: 0,
            pause: PAUSE_FIRST,
        }
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        loop {
            match self.once().await {
                End::Unread => return Ok(()),
                End::Refused(why) => return Err(why.into()),
                End::Lost(why) | End::Absent(why) if !self.begun => return Err(why.into()),
                End::Absent(_) => {
                    self.absences += 1;
                    if self.absences == ABSENCES {
                        note(&format!("{} has ended", self.what));
                        return Ok(());
                    }
                }
                End::Lost(why) => {
                    self.absences = 0;
                    if !std::mem::replace(&mut self.waiting, true) {
                        let from = match self.request.cursor.is_empty() && !self.request.from_start {
                            true => "from what comes then",
                            false => "after the last message",
                        };
                        note(&format!("{why}; waiting for the service, then going on {from}"));
                    }
                }
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// One call, until it ends.
    async fn once(&mut self) -> End {
        let channel = match self.target.grpc().await {
            Ok(channel) => channel,
            Err(error) => return End::Lost(unreachable(self.target.url(), &error.to_string())),
        };
        let mut client = WebSocketManagerClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX + OVERHEAD);
        let mut stream = match client.receive(self.request.clone()).await {
            Ok(answer) if speaks_grpc(&answer) => answer.into_inner(),
            Ok(_) => return End::Refused(wrong_port(self.target.url(), "it does not speak gRPC")),
            Err(status) => return self.judge(&status),
        };
        self.answered();
        loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    if self.printer.print(&message).is_err() {
                        return End::Unread;
                    }
                    self.passed(message.cursor);
                }
                // The service leaves, or the connection has ended: asking again tells which.
                Ok(None) => return End::Absent(String::new()),
                Err(status) => return self.judge(&status),
            }
        }
    }

    fn answered(&mut self) {
        if !self.begun && io::stderr().is_terminal() {
            note(&format!("following {}; Ctrl-C ends it", self.what));
        }
        if self.waiting {
            note("the service is there again");
        }
        self.begun = true;
        self.waiting = false;
    }

    fn passed(&mut self, cursor: String) {
        self.pause = PAUSE_FIRST;
        self.absences = 0;
        if !cursor.is_empty() {
            self.request.cursor = cursor;
            self.request.from_start = false;
        }
    }

    fn judge(&self, status: &Status) -> End {
        let (url, message) = (self.target.url(), status.message());
        match status.code() {
            Code::NotFound => End::Absent(format!(
                "there is no {} at {url}; {url}/v1/connections lists what is there",
                self.what
            )),
            Code::Unimplemented => End::Refused(wrong_port(url, message)),
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unauthenticated => {
                let hint = match message.starts_with("cursor") {
                    true => "; leave out --cursor to begin from now, or give --from-start",
                    false => "",
                };
                End::Refused(format!("{} ({}){hint}", message, status.code()))
            }
            code => End::Lost(format!("lost {url} ({code:?}: {message})")),
        }
    }
}

fn source(source: &TailSource) -> (Source, String) {
    match source {
        TailSource::Id(id) => (Source::Id(id.clone()), format!("connection {id}")),
        TailSource::Topic(topic) => (Source::Topic(topic.clone()), format!("topic {topic}")),
        TailSource::Tags(tags) => {
            let shown: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let filter =
                |(key, value): &(String, String)| TagFilter { key: key.clone(), value: value.clone() };
            let filters = tags.iter().map(filter).collect();
            (Source::Filter(TagFilters { filters }), format!("connections with {}", shown.join(", ")))
        }
    }
}

/// A web server's 404 has a body that must not be read as messages.
fn speaks_grpc<T>(answer: &tonic::Response<T>) -> bool {
    let media = answer.metadata().get("content-type");
    media.is_some_and(|media| media.as_encoded_bytes().starts_with(b"application/grpc"))
}

fn wrong_port(url: &str, why: &str) -> String {
    format!("{url} is not the service ({why}); --url wants its HTTP or gRPC port")
}

fn unreachable(url: &str, why: &str) -> String {
    format!(
        "cannot reach the service at {url}: {why}; start it with 'websocket-manager serve', \
         or name its HTTP or gRPC port with --url"
    )
}

/// For people; standard output is for messages alone.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "websocket-manager: {text}");
}

struct Printer {
    json: bool,
    terminal: bool,
    colour: bool,
}

impl Printer {
    fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        Printer { json, terminal, colour }
    }

    fn print(&self, message: &ReceivedMessage) -> io::Result<()> {
        let mut text = match self.json {
            true => serde_json::to_string(message)?,
            false => line::line(message, self.style()),
        };
        text.push('\n');
        io::stdout().lock().write_all(text.as_bytes())
    }

    fn style(&self) -> Style {
        // Asked for each time: windows change their size. What goes into a file is not cut.
        let size = self.terminal.then(terminal_size::terminal_size).flatten();
        Style { width: size.map(|(width, _)| usize::from(width.0)), colour: self.colour }
    }
}
