//! Joining gap records, so that a run of drops becomes one.

use crate::{
    core::{reason::GapCause, sequence::Gap},
    limits::GAPS_HELD_MAX,
};

/// The gap that the loss of these messages leaves.
pub(super) fn gap_of(epoch: u64, first: u64, last: u64, cause: GapCause, messages: u64) -> Gap {
    Gap {
        from: (epoch, Some(first.saturating_sub(1))),
        to: Some((epoch, last.saturating_add(1))),
        cause,
        count: Some(messages),
    }
}

/// Extends `gap` by `next` when `next` goes on exactly where `gap` ends, for the same cause.
pub(super) fn join(gap: &mut Gap, next: &Gap) -> bool {
    let (Some((epoch, end)), (next_epoch, Some(start))) = (gap.to, next.from) else { return false };
    if gap.cause != next.cause || epoch != next_epoch || start.checked_add(1) != Some(end) {
        return false;
    }
    gap.to = next.to;
    gap.count = gap.count.zip(next.count).map(|(a, b)| a.saturating_add(b));
    true
}

/// One record that covers both, for when there is no room to tell them apart.
fn merge(gap: &mut Gap, next: &Gap) {
    gap.from = gap.from.min(next.from);
    gap.to = gap.to.zip(next.to).map(|(a, b)| a.max(b));
    gap.count = None;
    // What follows a new epoch's record must be told apart from what came before.
    if gap.cause != GapCause::NewEpoch {
        gap.cause = next.cause;
    }
}

/// Makes one of two gaps that stand side by side: where they join, or where they must.
pub(super) fn absorb(gap: &mut Gap, next: &Gap, must: bool) -> bool {
    if join(gap, next) {
        return true;
    }
    if must {
        merge(gap, next);
    }
    must
}

/// Adds to a lane's gaps that wait, which never grow past their bound.
pub(super) fn push_bounded(gaps: &mut Vec<Gap>, next: Gap) {
    let full = gaps.len() >= GAPS_HELD_MAX;
    if !gaps.last_mut().is_some_and(|last| absorb(last, &next, full)) {
        gaps.push(next);
    }
}
