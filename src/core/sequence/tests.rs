use super::*;

#[test]
fn an_epoch_rises_above_the_stored_one_and_the_clock() {
    let wall = Wall::from_unix_millis(1_000);
    assert_eq!(Numbering::begin(None, wall).epoch(), 1_000);
    assert_eq!(Numbering::begin(Some(7), wall).epoch(), 1_000);
    assert_eq!(Numbering::begin(Some(999), wall).epoch(), 1_000);
    assert_eq!(Numbering::begin(Some(1_000), wall).epoch(), 1_001);
    assert_eq!(Numbering::begin(Some(5_000), wall).epoch(), 5_001);
    assert_eq!(Numbering::begin(Some(u64::MAX), wall).epoch(), u64::MAX);
}

#[test]
fn numbers_start_at_one_and_have_no_holes() {
    let mut numbering = Numbering::begin(None, Wall::from_unix_millis(5));
    assert_eq!((numbering.last_seq(), numbering.next_seq()), (0, 1));
    assert_eq!([numbering.next(), numbering.next(), numbering.next()], [1, 2, 3]);
    assert_eq!((numbering.last_seq(), numbering.next_seq()), (3, 4));
}

#[test]
fn gap_records_come_back_in_every_shape() {
    for &cause in GapCause::ALL {
        for shape in 0..8u8 {
            for number in [0, 1, 127, 128, 1_700_000_000_000, u64::MAX] {
                let gap = Gap {
                    from: (number, (shape & 1 != 0).then_some(number)),
                    to: (shape & 2 != 0).then_some((number, 3)),
                    cause,
                    count: (shape & 4 != 0).then_some(number),
                };
                let mut bytes = Vec::new();
                gap.encode(&mut bytes);
                assert_eq!(Gap::decode(&bytes), Some(gap));
                for cut in 0..bytes.len() {
                    assert_eq!(Gap::decode(&bytes[..cut]), None);
                }
                bytes.push(0);
                assert_eq!(Gap::decode(&bytes), None, "trailing bytes");
            }
        }
    }
    assert_eq!(Gap::decode(&[8, 0, 1]), None, "unknown flag");
    assert_eq!(Gap::decode(&[0, 200, 1]), None, "unknown cause");
}

#[test]
fn end_markers_come_back() {
    let end = End { epoch: 1_700_000_000_000, last_seq: u64::MAX };
    let mut bytes = Vec::new();
    end.encode(&mut bytes);
    assert_eq!(End::decode(&bytes), Some(end));
    assert_eq!(End::decode(&bytes[..bytes.len() - 1]), None);
    bytes.push(0);
    assert_eq!(End::decode(&bytes), None);
}
