//! The lease, what it owns, and what became of others.

use super::{Metric, Read, Set, counter, gauge, histogram};

pub(super) const FLEET: &[Metric] = &[
    gauge(
        "wsm_lease_held",
        "1 while this instance may write to what it dialled; always 1 without a fleet.",
        Read::Process(|page| f64::from(u8::from(page.fleet.held))),
    ),
    gauge(
        "wsm_lease_advisory",
        "1 while this instance goes on alone, without its state store.",
        Read::Process(|page| f64::from(u8::from(page.fleet.advisory))),
    ),
    gauge(
        "wsm_lease_left_seconds",
        "How long sockets may still be written without another renewal; 0 without a lease. In a fleet only, \
         like the two histograms.",
        Read::Fleet(|pace| pace.lease_left),
    ),
    histogram(
        "wsm_lease_renewal_seconds",
        "What the state store took to answer a renewal of the lease, failed ones included.",
        Read::Tally(|page| page.pace.map(|pace| pace.renewal)),
    ),
    histogram(
        "wsm_fleet_document_seconds",
        "What it took to answer other reads and writes of shared documents.",
        Read::TallySet(Set::DocumentCall, |page, n| page.pace.map(|pace| pace.documents[n])),
    ),
    gauge(
        "wsm_fleet_members",
        "Other instances whose leases live.",
        Read::Process(|page| page.fleet.members as f64),
    ),
    gauge(
        "wsm_fleet_owned_connections",
        "Connections whose documents name this instance as their owner.",
        Read::Process(|page| page.fleet.view.owned as f64),
    ),
    counter(
        "wsm_lease_renewals_total",
        "Renewals of the lease that the state store took.",
        Read::Process(|page| page.fleet.view.counters.renewals as f64),
    ),
    counter(
        "wsm_lease_fences_total",
        "Leases lost: everything that was dialled was dropped.",
        Read::Process(|page| page.fleet.view.counters.fences as f64),
    ),
    counter(
        "wsm_fleet_tombstones_total",
        "Dead instances whose leases this one ended.",
        Read::Process(|page| page.fleet.view.counters.tombstones as f64),
    ),
    counter(
        "wsm_fleet_taken_total",
        "Connections taken over from instances that died or left.",
        Read::Process(|page| page.fleet.view.counters.taken as f64),
    ),
    counter(
        "wsm_fleet_lost_total",
        "Connections that another instance was found to own.",
        Read::Process(|page| page.fleet.view.counters.lost as f64),
    ),
    counter(
        "wsm_fleet_document_writes_total",
        "Writes to the shared documents.",
        Read::Process(|page| page.fleet.view.counters.writes as f64),
    ),
    counter(
        "wsm_fleet_document_conflicts_total",
        "Writes refused because another document stood there.",
        Read::Process(|page| page.fleet.view.counters.conflicts as f64),
    ),
    counter(
        "wsm_fleet_document_unknowns_total",
        "Reads and writes whose outcome nobody knows: the store failed or was too slow.",
        Read::Process(|page| page.fleet.view.counters.unknowns as f64),
    ),
    counter(
        "wsm_fleet_bad_documents_total",
        "Documents that were not what belongs under their keys.",
        Read::Process(|page| page.fleet.view.counters.bad_documents as f64),
    ),
    counter(
        "wsm_fleet_store_losses_total",
        "Times that the state store was found to have lost documents.",
        Read::Process(|page| page.fleet.view.counters.store_losses as f64),
    ),
    counter(
        "wsm_fleet_given_up_total",
        "Callers that were told that the state store did not answer in time.",
        Read::Process(|page| page.fleet.view.counters.given_up as f64),
    ),
];
