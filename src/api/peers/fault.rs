//! Faults between instances travel whole: the caller gets the owner's own code and text.

use crate::{
    core::reason::{Certainty, Fault, FaultKind},
    proto::{SendCertainty, fleet},
};
use std::time::Duration;

const ALL: [FaultKind; 19] = [
    FaultKind::NotFound,
    FaultKind::Invalid,
    FaultKind::EgressDenied,
    FaultKind::IdInUse,
    FaultKind::CorrelationInUse,
    FaultKind::NotOpen,
    FaultKind::FifoResync,
    FaultKind::DialFailed,
    FaultKind::NotSent,
    FaultKind::MaybeSent,
    FaultKind::Cancelled,
    FaultKind::TimedOut,
    FaultKind::Full,
    FaultKind::PeerProtocol,
    FaultKind::Unauthenticated,
    FaultKind::Forbidden,
    FaultKind::Unimplemented,
    FaultKind::Unavailable,
    FaultKind::Internal,
];

/// Fixed: instances of different versions read them.
const fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::NotFound => "not_found",
        FaultKind::Invalid => "invalid",
        FaultKind::EgressDenied => "egress_denied",
        FaultKind::IdInUse => "id_in_use",
        FaultKind::CorrelationInUse => "correlation_in_use",
        FaultKind::NotOpen => "not_open",
        FaultKind::FifoResync => "fifo_resync",
        FaultKind::DialFailed => "dial_failed",
        FaultKind::NotSent => "not_sent",
        FaultKind::MaybeSent => "maybe_sent",
        FaultKind::Cancelled => "cancelled",
        FaultKind::TimedOut => "timed_out",
        FaultKind::Full => "full",
        FaultKind::PeerProtocol => "peer_protocol",
        FaultKind::Unauthenticated => "unauthenticated",
        FaultKind::Forbidden => "forbidden",
        FaultKind::Unimplemented => "unimplemented",
        FaultKind::Unavailable => "unavailable",
        FaultKind::Internal => "internal",
    }
}

pub fn to_proto(fault: Fault) -> fleet::Fault {
    fleet::Fault {
        kind: name(fault.kind).to_owned(),
        field: fault.field.into_owned(),
        message: fault.message.into_owned(),
        certainty: match fault.certainty {
            None => SendCertainty::Unspecified,
            Some(Certainty::NotSent) => SendCertainty::NotSent,
            Some(Certainty::MaybeSent) => SendCertainty::MaybeSent,
        }
        .into(),
        retry_after_nanos: fault.retry_after.map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
    }
}

pub fn from_proto(fault: fleet::Fault) -> Fault {
    let kind = ALL.into_iter().find(|kind| name(*kind) == fault.kind);
    let certainty = match fault.certainty() {
        SendCertainty::Unspecified => None,
        SendCertainty::NotSent => Some(Certainty::NotSent),
        SendCertainty::MaybeSent => Some(Certainty::MaybeSent),
    };
    Fault {
        kind: kind.unwrap_or(FaultKind::Internal),
        field: fault.field.into(),
        message: fault.message.into(),
        certainty,
        retry_after: fault.retry_after_nanos.map(Duration::from_nanos),
    }
}

/// The call never left this instance.
pub fn not_sent(why: impl Into<String>) -> Fault {
    Fault::new(FaultKind::NotSent, why.into()).with_certainty(Certainty::NotSent)
}

/// Who owned it is gone, and who takes it has not done so yet.
pub fn orphan(id: &str) -> Fault {
    Fault {
        retry_after: Some(Duration::from_secs(1)),
        ..not_sent(format!("connection '{id}': its instance is gone; another one is taking it over"))
    }
}

/// Its document stands, but whom it names does not have it: it is let go of, or not taken yet.
pub fn unsettled(id: &str) -> Fault {
    Fault {
        retry_after: Some(Duration::from_secs(1)),
        ..not_sent(format!("connection '{id}' is on its way from one instance to another; try again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_comes_back_as_it_was() {
        for kind in ALL {
            for certainty in [None, Some(Certainty::NotSent), Some(Certainty::MaybeSent)] {
                let fault = Fault {
                    kind,
                    field: "id".into(),
                    message: "a cause".into(),
                    certainty,
                    retry_after: Some(Duration::from_nanos(1_500_000_001)),
                };
                assert_eq!(from_proto(to_proto(fault.clone())), fault);
            }
        }
        assert_eq!(from_proto(to_proto(Fault::not_found("a"))), Fault::not_found("a"));
    }

    #[test]
    fn an_unknown_kind_is_internal() {
        let unknown = fleet::Fault { kind: "of tomorrow".into(), message: "m".into(), ..Default::default() };
        assert_eq!(from_proto(unknown), Fault::new(FaultKind::Internal, "m"));
    }
}
