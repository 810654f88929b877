//! Pinning and CPU clocks. std has neither, and a benchmark that counts wall time on a shared
//! machine counts its neighbours: hence the only unsafe code of this project, a few calls of libc.
#![allow(unsafe_code)]

use std::{
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Keeps the calling thread, and what it starts, on one of the cores that it may use.
pub fn pin(nth: usize) {
    let cores = allowed();
    stay_on(&cores[nth % cores.len()..][..1]);
}

/// For a child that pins its own threads.
pub fn unpin() {
    stay_on(allowed());
}

/// On one core, or wherever the system likes.
pub fn place(core: Option<usize>) {
    core.map_or_else(unpin, pin);
}

fn stay_on(cores: &[usize]) {
    // SAFETY: the set is a plain bit field, owned here, and its size is passed along.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        cores.iter().for_each(|core| libc::CPU_SET(*core, &mut set));
        assert_eq!(libc::sched_setaffinity(0, mem::size_of_val(&set), &set), 0, "cannot pin to {cores:?}");
    }
}

fn allowed() -> &'static [usize] {
    static CORES: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    CORES.get_or_init(|| {
        // SAFETY: as above; the kernel fills the set.
        unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set), 0);
            (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
        }
    })
}

/// Must be asked for before anything is pinned.
pub fn cores() -> usize {
    allowed().len()
}

/// The CPU time of one thread of this process, or of another process; read from anywhere.
#[derive(Clone, Copy)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    pub fn of_this_thread() -> Self {
        // SAFETY: takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        // How the kernel names a thread's scheduler clock.
        CpuClock((!thread << 3) | 6)
    }

    pub fn of_process(pid: u32) -> Self {
        CpuClock((!(pid as i32) << 3) | 2)
    }

    pub fn nanos(self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours; a clock that is gone answers with an error.
        assert_eq!(unsafe { libc::clock_gettime(self.0, &mut time) }, 0, "the clock's thread is gone");
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// A huge page counts as dirty as a whole, and hides what its tenants keep.
pub fn small_pages_only() {
    // SAFETY: sets a flag of this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
}

/// As many descriptors as this process and its children may have.
pub fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure, which is ours, and reads it.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// Dirty memory of this process alone, in bytes.
pub fn private_dirty() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = rollup.lines().find(|line| line.starts_with("Private_Dirty:")).expect("a kernel since 4.14");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024
}

/// Which of many sockets have something to read: the cheapest way to be told.
pub struct Readable {
    poll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Readable {
    pub fn new() -> Self {
        // SAFETY: the descriptor is new and owned by nobody else.
        let poll = unsafe {
            let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            assert!(poll >= 0, "no epoll");
            OwnedFd::from_raw_fd(poll)
        };
        Readable { poll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 512] }
    }

    pub fn add(&self, socket: &impl AsRawFd, number: usize) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        // SAFETY: both descriptors are open, and the event is ours.
        let added = unsafe {
            libc::epoll_ctl(self.poll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event)
        };
        assert_eq!(added, 0, "epoll does not take the socket");
    }

    /// Numbers of sockets that can be read, after at most so many milliseconds.
    pub fn wait(&mut self, millis: i32) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: the kernel writes at most as many events as there is room for.
        let found = unsafe {
            let room = self.events.len() as i32;
            libc::epoll_wait(self.poll.as_raw_fd(), self.events.as_mut_ptr(), room, millis)
        };
        self.events.iter().take(usize::try_from(found).unwrap_or(0)).map(|event| event.u64 as usize)
    }
}
