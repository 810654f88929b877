use super::*;
use crate::core::spec::Status;
use std::collections::BTreeSet;

#[test]
fn names_follow_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let Metric { name, kind, help, .. } = metric;
        assert!(names.insert(*name), "{name} twice");
        assert!(name.starts_with("wsm_"), "{name}");
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert_eq!(*kind == Kind::Histogram, !metric.buckets().is_empty(), "{name}");
        if *kind == Kind::Histogram {
            assert!(name.ends_with("_seconds"), "{name}");
            assert!(metric.buckets().is_sorted_by(|a, b| a < b), "{name}");
        }
        // A bar would break the README's table, a line break the page.
        assert!(help.ends_with('.') && !help.contains(['|', '\n']), "{name}: {help}");
    }
}

#[test]
fn label_values_are_in_the_order_of_their_sets() {
    let statuses =
        [Status::Connecting, Status::Connected, Status::Disconnected, Status::Error, Status::Reconnecting];
    let names: Vec<_> = statuses.iter().map(|status| status.name().to_lowercase()).collect();
    assert_eq!(Set::Status.values(), names);
    assert!(statuses.iter().enumerate().all(|(place, status)| *status as usize == place));
    assert!(SendEnd::ALL.iter().enumerate().all(|(place, end)| *end as usize == place));
    assert!(CloseCause::ALL.iter().enumerate().all(|(place, cause)| cause.index() == place));
}

#[test]
fn the_table_has_a_line_for_every_metric() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), all().count() + 2);
    for (metric, line) in all().zip(table.lines().skip(2)) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1..3], [format!("`{}`", metric.name).as_str(), metric.kind.name()]);
        assert_eq!((cells.len(), cells[4]), (6, metric.help));
    }
    assert!(table.contains("| `wsm_closes_total` | counter | `shard`, `cause` |"));
}
