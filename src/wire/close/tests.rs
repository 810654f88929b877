use super::*;

#[test]
fn the_table_covers_every_code_once_and_in_order() {
    let mut next = 0_u32;
    for row in TABLE {
        assert_eq!(u32::from(row.first), next, "{}", row.name);
        assert!(row.first <= row.last);
        next = u32::from(row.last) + 1;
    }
    assert_eq!(next, 65_536);
}

#[test]
fn names_are_distinct() {
    let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn exactly_the_assigned_codes_may_stand_in_a_close_frame() {
    for code in 0..=u16::MAX {
        let assigned = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        assert_eq!(may_receive(code), assigned, "{code}");
        assert_eq!(may_send(code), assigned && code != 1010, "{code}");
    }
}

#[test]
fn every_code_of_ours_may_be_sent() {
    for code in [
        NORMAL,
        GOING_AWAY,
        PROTOCOL_ERROR,
        UNSUPPORTED_DATA,
        INVALID_PAYLOAD,
        POLICY_VIOLATION,
        MESSAGE_TOO_BIG,
        INTERNAL_ERROR,
        SERVICE_RESTART,
        TRY_AGAIN_LATER,
    ] {
        assert!(may_send(code), "{code}");
    }
    assert!(!may_send(NO_STATUS) && !may_send(ABNORMAL));
    assert_eq!(name(NORMAL), "normal");
    assert_eq!(name(3999), "registered");
    assert_eq!(name(u16::MAX), "above_range");
}
