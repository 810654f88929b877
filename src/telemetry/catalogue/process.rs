//! The process, its bounds, its threads and its calls.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const PROCESS: &[Metric] = &[
    gauge(
        "wsm_build_info",
        "Always 1; the labels tell the version, the commit if the build was told, the compiler and the \
         backend in use.",
        Read::Build,
    ),
    gauge(
        "wsm_config_hash",
        "The same number for the same settings. Left out is what differs between the instances of a fleet by \
         nature: names, addresses, ports, folders and the number of shards. Of secrets it tells only whether \
         they are set.",
        Read::Process(|page| page.fixed.config_hash as f64),
    ),
    gauge(
        "wsm_ready",
        "1 while this instance takes work, as its readiness probe says.",
        Read::Process(|page| one_if(page.standing.ready)),
    ),
    gauge("wsm_draining", "1 while it leaves.", Read::Process(|page| one_if(page.standing.draining))),
    gauge(
        "wsm_uptime_seconds",
        "Seconds since the process started.",
        Read::Process(|page| page.process.uptime.as_secs_f64()),
    ),
    gauge(
        "wsm_scrape_seconds",
        "What the scrape before this one took here.",
        Read::Process(|page| page.scraped.as_secs_f64()),
    ),
    counter(
        "wsm_process_cpu_seconds_total",
        "Processor time of all threads, user and system.",
        Read::Process(|page| page.process.cpu.as_secs_f64()),
    ),
    counter(
        "wsm_thread_busy_seconds_total",
        "Processor time of threads that are no shards, by what they do: at a rate of 1 one's core is full.",
        Read::ProcessSet(Set::Thread, |page, n| page.threads[n]),
    ),
    gauge(
        "wsm_process_resident_memory_bytes",
        "Memory in RAM.",
        Read::Process(|page| page.process.resident_bytes as f64),
    ),
    gauge(
        "wsm_process_anonymous_memory_bytes",
        "Of that, what no file backs: the heap and the stacks.",
        Read::Process(|page| page.process.anonymous_bytes as f64),
    ),
    gauge(
        "wsm_process_virtual_memory_bytes",
        "Address space.",
        Read::Process(|page| page.process.virtual_bytes as f64),
    ),
    gauge(
        "wsm_process_memory_limit_bytes",
        "What the system lets this process have: the least of its control group's limit and the machine's memory.",
        Read::Process(|page| page.process.limit_bytes as f64),
    ),
    gauge(
        "wsm_memory_bound_bytes",
        "The worst case that the settings imply, as check prints it; without the requests and answers of callers \
         of the API, while they are under way.",
        Read::Process(|page| page.fixed.memory_bound as f64),
    ),
    gauge(
        "wsm_allocator_committed_bytes",
        "Memory that the allocator has from the system for use.",
        Read::Process(|page| page.allocator.committed as f64),
    ),
    gauge(
        "wsm_allocator_reserved_bytes",
        "Address space that it has reserved.",
        Read::Process(|page| page.allocator.reserved as f64),
    ),
    gauge("wsm_process_threads", "Threads.", Read::Process(|page| page.process.threads as f64)),
    gauge(
        "wsm_process_open_fds",
        "Open file descriptors: one each socket and log file.",
        Read::Process(|page| page.process.open_fds as f64),
    ),
    gauge(
        "wsm_process_max_fds",
        "How many may be open; 0 is no limit.",
        Read::Process(|page| page.process.max_fds as f64),
    ),
    gauge(
        "wsm_connections_max",
        "Connections that one shard takes.",
        Read::Process(|page| page.fixed.connections_max as f64),
    ),
    gauge(
        "wsm_mailbox_max",
        "Commands that may wait at one shard.",
        Read::Process(|page| page.fixed.mailbox_max as f64),
    ),
    gauge(
        "wsm_publish_queue_max_bytes",
        "Bytes of events that one shard keeps in memory before they spill or overflow.",
        Read::Process(|page| page.fixed.publish_queue_max as f64),
    ),
    gauge(
        "wsm_publish_spill_max_bytes",
        "Bytes of events that one shard keeps on disk before reads pause.",
        Read::Process(|page| page.fixed.spill_max as f64),
    ),
    counter("wsm_edge_total", "What happened at the HTTP and gRPC listeners.", Read::Edge),
    counter(
        "wsm_calls_total",
        "Calls by method and end, whichever protocol brought them; of streams the opening, whose end is in \
         wsm_streams_ended_total. refused: the caller's doing or a bound; failed: ours or the upstream's; \
         cancelled: the caller went away. A message that does not decode is a refused call over REST and \
         Connect, and none over gRPC.",
        Read::Calls,
    ),
    histogram("wsm_call_seconds", "How long calls took that are no streams.", Read::CallTimes),
    gauge(
        "wsm_calls_in_flight",
        "Calls under way, without streams that stand.",
        Read::Process(|page| page.calls.in_flight as f64),
    ),
    gauge("wsm_streams_open", "Streams that were opened and have not ended.", Read::Streams),
    counter(
        "wsm_streams_ended_total",
        "Streams by method and end: through to their last answer, broken by a fault, or left by their caller, \
         which is how followers and watchers end.",
        Read::StreamEnds,
    ),
    counter(
        "wsm_intake_total",
        "Schemas read again and messages checked, requests of REST routes, events of bound topics.",
        Read::Intake,
    ),
    gauge(
        "wsm_backend_ready",
        "0 while the service waits for its sidecar, broker or state store.",
        Read::Process(|page| one_if(page.backend_ready)),
    ),
    counter(
        "wsm_trace_spans_total",
        "Spans that the collector took; that were dropped because too many waited; that it did not take. All 0 \
         without --otlp-endpoint.",
        Read::ProcessSet(Set::SpanOutcome, |page, n| page.spans[n] as f64),
    ),
];

fn one_if(it: bool) -> f64 {
    f64::from(u8::from(it))
}
