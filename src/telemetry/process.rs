//! What the system says of this process. Elsewhere than on Linux it says nothing, and all is zero.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

#[derive(Clone, Debug, Default)]
pub struct Process {
    pub resident_bytes: u64,
    pub anonymous_bytes: u64,
    /// Of the control group or the machine, whichever is less; 0: nobody says.
    pub limit_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    pub cpu: Duration,
    pub uptime: Duration,
}

impl Process {
    pub fn read(uptime: Duration) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // In kB here; statm counts in pages, whose size only an unsafe call tells.
        let kib = |key| field(&status, key).unwrap_or_default() * 1024;
        Process {
            resident_bytes: kib("VmRSS:"),
            anonymous_bytes: kib("RssAnon:"),
            limit_bytes: least(group_limit(), machine_memory()),
            virtual_bytes: kib("VmSize:"),
            threads: field(&status, "Threads:").unwrap_or_default(),
            open_fds: open_fds(),
            max_fds: field(&limits, "Max open files").unwrap_or_default(),
            cpu: ticks(&stat).unwrap_or_default(),
            uptime,
        }
    }
}

/// A thread that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread {
    pub id: u32,
    pub name: String,
    /// Of processor time.
    pub seconds: f64,
}

/// Every thread of this process.
pub fn threads() -> Vec<Thread> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let read = |folder: &Path| {
        let name = fs::read_to_string(folder.join("comm")).ok()?.trim_end().to_owned();
        // Nanoseconds here; `stat` counts in hundredths of a second.
        let fine = fs::read_to_string(folder.join("schedstat")).ok();
        let fine = fine.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
        let coarse = || ticks(&fs::read_to_string(folder.join("stat")).ok()?);
        let used = fine.filter(|used| !used.is_zero()).or_else(coarse).unwrap_or_default();
        let id = folder.file_name()?.to_str()?.parse().ok()?;
        Some(Thread { id, name, seconds: used.as_secs_f64() })
    };
    threads.filter_map(|entry| read(&entry.path())).collect()
}

/// What threads that are no shards do, as labels name it: by the names of the threads, and all others.
pub const THREADS: [&str; 11] =
    ["bus", "spill", "store", "fsync", "dapr", "redis", "redis-rooms", "fleet", "rooms", "otlp", "other"];

/// Their seconds by `THREADS`. What has ended keeps what it used: a counter must not fall.
#[derive(Clone, Debug, Default)]
pub struct ByWork {
    running: BTreeMap<u32, (usize, f64)>,
    ended: [f64; THREADS.len()],
}

impl ByWork {
    pub fn update(&mut self, threads: &[Thread]) -> [f64; THREADS.len()] {
        let before = std::mem::take(&mut self.running);
        for thread in threads.iter().filter(|thread| !thread.name.starts_with("shard-")) {
            let work = thread.name.strip_prefix("wsm-").unwrap_or(&thread.name);
            let place = THREADS.iter().position(|known| *known == work).unwrap_or(THREADS.len() - 1);
            self.running.insert(thread.id, (place, thread.seconds));
        }
        for (id, (place, seconds)) in before {
            // An id is used again: then another thread has less.
            let goes_on = self.running.get(&id).is_some_and(|now| now.0 == place && now.1 >= seconds);
            if !goes_on {
                self.ended[place] += seconds;
            }
        }
        let mut sums = self.ended;
        for (place, seconds) in self.running.values() {
            sums[*place] += seconds;
        }
        sums
    }
}

/// What the allocator has from the system; nothing where it is not the process's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocator {
    pub reserved: u64,
    pub committed: u64,
}

impl Allocator {
    pub fn read() -> Self {
        let Ok(json) = mimalloc::MiMalloc::stats_json() else { return Allocator::default() };
        let json = json.to_string_lossy();
        let current = |key| current(&json, key).unwrap_or_default();
        Allocator { reserved: current("\"reserved\""), committed: current("\"committed\"") }
    }
}

/// The part of the allocator's long account that is wanted: `key: { ..., "current": number }`.
fn current(json: &str, key: &str) -> Option<u64> {
    let (_, rest) = json.split_once(key)?;
    let (_, rest) = rest.split_once("\"current\":")?;
    let digits = rest.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// The least limit on the way up from this process's control group, of the second version or the first.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let here = Path::new(path.trim_start_matches('/'));
        let limit = |group: &Path| fs::read_to_string(Path::new(root).join(group).join(file)).ok();
        here.ancestors().filter_map(|group| limit(group)?.trim().parse::<u64>().ok()).min()
    });
    // The first version writes a huge number for no limit.
    limits.min().filter(|limit| *limit < 1 << 60)
}

fn machine_memory() -> Option<u64> {
    Some(field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")? * 1024)
}

/// Without a limit of its own a process is ended for what the machine has.
fn least(group: Option<u64>, machine: Option<u64>) -> u64 {
    group.into_iter().chain(machine).min().unwrap_or(0)
}

/// The first number after a key at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// User and system time of a `stat` line: fields 14 and 15, in the hundredths of a second that
/// Linux shows on every machine.
fn ticks(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 10))
}

/// The folder's size is its count since Linux 6.2; before, it has to be read.
fn open_fds() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    let size = fs::metadata(FOLDER).map_or(0, |folder| folder.len());
    if size > 0 { size } else { fs::read_dir(FOLDER).map_or(0, |entries| entries.count() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_writes() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("Max open files            1024   4096   files", "Max open files"), Some(1024));
        assert_eq!(field("Max open files  unlimited", "Max open files"), None);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20";
        assert_eq!(ticks(stat), Some(Duration::from_millis(1540)));
        assert_eq!((ticks(""), ticks("7 (a) S 1")), (None, None));
    }

    #[test]
    fn the_nearest_limit_of_memory_counts() {
        assert_eq!((least(Some(1), Some(2)), least(Some(3), Some(2)), least(None, Some(2))), (1, 2, 2));
        assert_eq!((least(Some(3), None), least(None, None)), (3, 0));
    }

    #[test]
    fn threads_are_told_apart_by_their_work_and_count_on_when_they_end() {
        let thread = |id, name: &str, seconds| Thread { id, name: name.into(), seconds };
        let of = |sums: [f64; THREADS.len()], work: &str| {
            sums[THREADS.iter().position(|known| *known == work).unwrap()]
        };
        let mut by_work = ByWork::default();
        let sums = by_work.update(&[
            thread(1, "main", 1.0),
            thread(2, "wsm-bus", 2.0),
            thread(3, "shard-0", 9.0),
            thread(4, "redis-rooms", 3.0),
            thread(5, "tokio-rt-worker", 4.0),
        ]);
        assert_eq!(["other", "bus", "redis", "redis-rooms"].map(|work| of(sums, work)), [5.0, 2.0, 0.0, 3.0]);
        // One has ended, and its id is used again.
        let sums = by_work.update(&[thread(1, "main", 1.5), thread(5, "tokio-rt-worker", 0.5)]);
        assert_eq!(["other", "bus", "redis-rooms"].map(|work| of(sums, work)), [6.0, 2.0, 3.0]);
        assert_eq!(by_work.update(&[thread(1, "main", 1.5), thread(5, "tokio-rt-worker", 0.5)]), sums);
    }

    #[test]
    fn the_allocator_tells_what_it_has() {
        let json =
            r#"{ "reserved": { "total": 1, "current": 12 }, "committed": { "current": 7, "peak": 9 } }"#;
        assert_eq!((current(json, "\"reserved\""), current(json, "\"committed\"")), (Some(12), Some(7)));
        assert_eq!((current(json, "\"gone\""), current("\"committed\": 3", "\"committed\"")), (None, None));
        // The allocator gives an account of itself even where it is not the one in use.
        let read = Allocator::read();
        assert!(read.reserved >= read.committed && read.reserved > 0, "{read:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive() {
        let process = Process::read(Duration::from_secs(3));
        assert!(process.resident_bytes > 0 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.limit_bytes >= process.resident_bytes);
        assert!(process.threads > 0 && process.open_fds > 0 && process.max_fds >= process.open_fds);
        let (tell, wait) = (std::sync::mpsc::sync_channel::<()>(1), std::sync::mpsc::sync_channel::<()>(1));
        let thread = std::thread::Builder::new().name("metrics-probe".into()).spawn(move || {
            tell.0.send(()).unwrap();
            let _ = wait.1.recv();
        });
        tell.1.recv().unwrap();
        assert!(threads().iter().any(|thread| thread.name == "metrics-probe"));
        drop(wait.0);
        thread.unwrap().join().unwrap();
    }
}
