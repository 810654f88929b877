//! Processes that end with us: at the end of a run, on Ctrl-C, and when we are killed.

use crate::{
    clock::{self, MILLI, SECOND},
    pin, stop,
    trouble::{Result, Trouble},
};
use rustix::process::{Pid, Signal};
use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// From the polite signal to the other one.
const GRACE: u64 = 3 * SECOND;
/// Lines of a child's output that wait for somebody, and of its complaints that are kept.
const LINES_MAX: usize = 1024;
const COMPLAINTS_MAX: usize = 20;

pub struct Child {
    name: String,
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

/// How a child is started.
pub struct Start<'a> {
    pub name: &'a str,
    pub program: &'a OsStr,
    pub cores: &'a [usize],
    /// Without transparent huge pages: memory is then what was touched.
    pub small_pages: bool,
}

impl Child {
    /// Must be called on a thread that outlives the child: the kernel ends a child with the thread
    /// that started it.
    pub fn start(start: &Start, arguments: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new(start.program);
        arguments(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for us alone; we end the children when the books are done.
        command.process_group(0);
        let (cores, small_pages) = (start.cores.to_vec(), start.small_pages);
        pin::allowed();
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                pin::stay_on(&cores);
                if small_pages && libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut process = command.spawn().map_err(|error| {
            Trouble::Unavailable(format!("{}: cannot start {}: {error}", start.name, start.program.display()))
        })?;
        let (sender, lines) = mpsc::sync_channel(LINES_MAX);
        if let Some(output) = process.stdout.take() {
            // What nobody waits for is dropped.
            each_line(output, move |line| drop(sender.try_send(line)));
        }
        let complaints: Arc<Mutex<VecDeque<String>>> = Arc::default();
        if let Some(errors) = process.stderr.take() {
            let kept = complaints.clone();
            each_line(errors, move |line| {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == COMPLAINTS_MAX {
                    kept.pop_front();
                }
                kept.push_back(line);
            });
        }
        Ok(Child { name: start.name.to_owned(), process, lines, complaints })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line of its output that begins so, which is how a child says that it is ready.
    pub fn line(&mut self, prefix: &str, patience: u64) -> Result<String> {
        let give_up = clock::now() + patience;
        loop {
            match self.lines.recv_timeout(std::time::Duration::from_millis(50)) {
                Ok(line) if line.starts_with(prefix) => return Ok(line),
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.unavailable("it ended")),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if stop::asked() {
                return Err(Trouble::Interrupted);
            }
            if clock::now() > give_up {
                return Err(self.unavailable("it did not answer in time"));
            }
        }
    }

    /// One line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.process.stdin else { return Err(self.unavailable("no input")) };
        match writeln!(input, "{line}") {
            Ok(()) => Ok(()),
            Err(error) => Err(self.unavailable(&error.to_string())),
        }
    }

    /// What it complained of last, for the report of a failure.
    #[must_use]
    pub fn complaints(&self) -> String {
        let kept = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|line| format!("\n    {line}")).collect()
    }

    fn unavailable(&mut self, what: &str) -> Trouble {
        // An ended child's last words come a moment later.
        let status = self.process.try_wait().ok().flatten().map_or(String::new(), |it| format!(" ({it})"));
        if !status.is_empty() {
            clock::sleep(50 * MILLI);
        }
        Trouble::Unavailable(format!("{}: {what}{status}{}", self.name, self.complaints()))
    }

    /// The lines of its output that nobody has taken, and whether more may come.
    pub fn lines(&mut self) -> (Vec<String>, bool) {
        let mut taken = Vec::new();
        loop {
            match self.lines.try_recv() {
                Ok(line) => taken.push(line),
                Err(end) => return (taken, end == mpsc::TryRecvError::Empty),
            }
        }
    }

    /// How it ended; nothing while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Asks it to end, and sees to it. What was started by it, and stayed in its group, ends too.
    pub fn end(&mut self) {
        self.process.stdin.take();
        if self.alive() {
            self.signal(Signal::TERM);
            let give_up = clock::now() + GRACE;
            while self.alive() && clock::now() < give_up {
                clock::sleep(5 * MILLI);
            }
        }
        if let Some(group) = Pid::from_raw(self.pid().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn each_line(from: impl Read + Send + 'static, mut take: impl FnMut(String) + Send + 'static) {
    thread::spawn(move || {
        let mut lines = BufReader::new(from).lines();
        while let Some(Ok(line)) = lines.next() {
            take(line);
        }
    });
}
