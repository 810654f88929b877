//! XOR with the four bytes of a mask, eight bytes a step so that the compiler makes vectors of it.

/// Masks in place; the same again unmasks.
#[inline]
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = widen(mask);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    apply_short(tail, mask);
}

/// Appends `payload` masked, in one pass over it.
#[inline]
pub(super) fn extend(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    let wide = widen(mask);
    out.reserve(payload.len());
    let (blocks, rest) = payload.as_chunks::<BLOCK>();
    for block in blocks {
        let mut masked = *block;
        for word in masked.as_chunks_mut::<8>().0 {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        out.extend_from_slice(&masked);
    }
    let start = out.len();
    out.extend_from_slice(rest);
    apply(&mut out[start..], mask);
}

/// The mask for the bytes that follow `done` bytes under `mask`.
#[inline]
pub(super) const fn advance(mask: [u8; 4], done: usize) -> [u8; 4] {
    let turn = done % 4;
    [mask[turn], mask[(turn + 1) % 4], mask[(turn + 2) % 4], mask[(turn + 3) % 4]]
}

/// Stays in vector registers on its way from the payload to the frame.
const BLOCK: usize = 64;

#[inline]
const fn widen(mask: [u8; 4]) -> u64 {
    let [a, b, c, d] = mask;
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

/// For fewer than eight bytes.
#[inline]
fn apply_short(bytes: &mut [u8], mask: [u8; 4]) {
    let (words, tail) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn plain(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 + 3) as u8).collect()
    }

    fn expected(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]).collect()
    }

    #[test]
    fn both_ways_equal_the_definition_at_every_length() {
        for len in 0..300 {
            let bytes = plain(len);
            let mut in_place = bytes.clone();
            apply(&mut in_place, MASK);
            assert_eq!(in_place, expected(&bytes), "{len}");

            let mut out = b"head".to_vec();
            extend(&mut out, &bytes, MASK);
            assert_eq!(&out[..4], b"head");
            assert_eq!(&out[4..], expected(&bytes), "{len}");
        }
    }

    #[test]
    fn a_payload_may_be_unmasked_in_two_pieces() {
        let bytes = plain(40);
        for cut in 0..=bytes.len() {
            let mut pieces = expected(&bytes);
            let (first, second) = pieces.split_at_mut(cut);
            apply(first, MASK);
            apply(second, advance(MASK, cut));
            assert_eq!(pieces, bytes, "{cut}");
        }
    }
}
