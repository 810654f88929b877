//! What the system says of this process. Elsewhere than on Linux it says nothing, and all is zero.

use std::{collections::BTreeMap, fs, time::Duration};

#[derive(Clone, Debug, Default)]
pub struct Process {
    pub resident_bytes: u64,
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
            virtual_bytes: kib("VmSize:"),
            threads: field(&status, "Threads:").unwrap_or_default(),
            open_fds: open_fds(),
            max_fds: field(&limits, "Max open files").unwrap_or_default(),
            cpu: ticks(&stat).unwrap_or_default(),
            uptime,
        }
    }
}

/// Seconds of processor time by the thread's name, for those whose name begins so.
pub fn thread_seconds(prefix: &str) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for thread in threads.map(|entry| entry.path()) {
        let Ok(name) = fs::read_to_string(thread.join("comm")) else { continue };
        let name = name.trim_end();
        if name.starts_with(prefix) {
            // Nanoseconds here; `stat` counts in hundredths of a second.
            let fine = fs::read_to_string(thread.join("schedstat")).ok();
            let fine = fine.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
            let coarse = || ticks(&fs::read_to_string(thread.join("stat")).ok()?);
            let used = fine.filter(|used| !used.is_zero()).or_else(coarse).unwrap_or_default();
            *seconds.entry(name.to_owned()).or_default() += used.as_secs_f64();
        }
    }
    seconds
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

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_alive() {
        let process = Process::read(Duration::from_secs(3));
        assert!(process.resident_bytes > 0 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.threads > 0 && process.open_fds > 0 && process.max_fds >= process.open_fds);
        let (tell, wait) = (std::sync::mpsc::sync_channel::<()>(1), std::sync::mpsc::sync_channel::<()>(1));
        let thread = std::thread::Builder::new().name("metrics-probe".into()).spawn(move || {
            tell.0.send(()).unwrap();
            let _ = wait.1.recv();
        });
        tell.1.recv().unwrap();
        assert_eq!(thread_seconds("metrics-").into_keys().collect::<Vec<_>>(), ["metrics-probe"]);
        drop(wait.0);
        thread.unwrap().join().unwrap();
    }
}
