//! Programs that are waited for no longer than they can need: one that hangs is ended and shown, and
//! does not keep all others.

use loadtest::clock::{self, MILLI, SECOND};
use std::{
    io::Read,
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
};

/// Far more than any of these takes, on the slowest machine.
const PATIENCE: u64 = 180 * SECOND;

/// Runs it to its end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command.spawn().expect("it starts"))
}

/// The rest of one that runs, whose streams are piped or taken.
pub fn wait(mut child: Child) -> Output {
    let (stdout, stderr) = (child.stdout.take().map(all), child.stderr.take().map(all));
    let give_up = clock::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if clock::now() > give_up {
            let _ = child.kill().and_then(|()| child.wait().map(drop));
            panic!("it did not end, and said: {}", String::from_utf8_lossy(&read(stderr)));
        }
        clock::sleep(10 * MILLI);
    };
    Output { status, stdout: read(stdout), stderr: read(stderr) }
}

fn all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn read(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    stream.map_or_else(Vec::new, |thread| thread.join().expect("no panic"))
}
