//! How WebSocket clients come in.

use super::{Metric, Read, Set, counter};

pub(super) const INGRESS: &[Metric] = &[
    counter(
        "wsm_ws_accepted_total",
        "WebSocket clients that were let in.",
        Read::Process(|page| page.ingress.accepted as f64),
    ),
    counter(
        "wsm_ws_vanished_total",
        "Of those, the ones that were gone before they had their answer.",
        Read::Process(|page| page.ingress.vanished as f64),
    ),
    counter(
        "wsm_ws_refused_total",
        "WebSocket clients that were not let in, by the reason.",
        Read::ProcessSet(Set::WsRefusal, |page, n| page.ingress.refused[n] as f64),
    ),
];
