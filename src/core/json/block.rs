//! Skips nested values 64 bytes at a time, by bitmaps of quotes, escapes and brackets.

use crate::limits::JSON_DEPTH_MAX;

const BLOCK: usize = 64;
const EVEN: u64 = 0x5555_5555_5555_5555;

/// What is carried from one block to the next.
struct State {
    depth: u32,
    /// All ones inside a string.
    in_string: u64,
    /// 1 when the first byte of the next block is escaped.
    escaped: u64,
}

/// `at` stands on the bracket that opens a value; answers where the value ends, just after the
/// bracket that closes it. Brackets of both kinds count alike: nothing is validated here.
pub fn skip_nested(text: &[u8], at: usize) -> Option<usize> {
    let mut state = State { depth: 0, in_string: 0, escaped: 0 };
    let rest = text.get(at..)?;
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        if let Some(end) = state.step(block)? {
            return Some(at + index * BLOCK + end);
        }
    }
    // Zeros are neither quotes nor brackets, so a padded tail ends nothing that was open.
    let mut block = [0u8; BLOCK];
    block[..tail.len()].copy_from_slice(tail);
    state.step(&block)?.map(|end| at + blocks.len() * BLOCK + end)
}

impl State {
    /// `None`: nested too deep. `Some(Some(n))`: the value ends after `n` bytes of this block.
    #[inline]
    fn step(&mut self, block: &[u8; BLOCK]) -> Option<Option<usize>> {
        // Most blocks have no backslash, and asking that first is cheaper than a mask of none.
        let any = block.iter().fold(false, |any, byte| any | (*byte == b'\\'));
        let backslashes = if any { mask(block, |byte| byte == b'\\') } else { 0 };
        let escaped = escaped_bytes(backslashes, &mut self.escaped);
        let quotes = mask(block, |byte| byte == b'"') & !escaped;
        let inside = prefix_xor(quotes) ^ self.in_string;
        self.in_string = ((inside as i64) >> 63) as u64;
        // '[' and '{' differ from each other in one bit, and so do ']' and '}'.
        let mut brackets = mask(block, |byte| matches!(byte | 0x20, b'{' | b'}')) & !inside;
        let mut depth = self.depth;
        while brackets != 0 {
            let bit = brackets.trailing_zeros() as usize;
            // Up or down by a bit that only opening brackets have: a branch could not be predicted.
            depth = depth.wrapping_add(u32::from(block[bit % BLOCK] & 2)).wrapping_sub(1);
            // One comparison for both ends: zero wraps to the far side of the bound.
            if depth.wrapping_sub(1) >= JSON_DEPTH_MAX {
                return (depth == 0).then_some(Some(bit + 1));
            }
            brackets &= brackets - 1;
        }
        self.depth = depth;
        Some(None)
    }
}

/// One bit a byte. The first loop becomes vector code, and no intrinsics are needed; the words of
/// eight flags are then overlaid and turned by one 8x8 bit transposition.
#[inline(always)]
fn mask(block: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let mut flags = [0u8; BLOCK];
    for (flag, byte) in flags.iter_mut().zip(block) {
        *flag = u8::from(is(*byte));
    }
    let (words, _) = flags.as_chunks::<8>();
    let mut overlaid = 0;
    for (row, word) in words.iter().enumerate() {
        overlaid |= u64::from_le_bytes(*word) << row;
    }
    if overlaid == 0 { 0 } else { transpose(overlaid) }
}

#[inline(always)]
fn transpose(mut bits: u64) -> u64 {
    for (shift, lanes) in
        [(7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0x0000_0000_F0F0_F0F0)]
    {
        let swap = (bits ^ (bits >> shift)) & lanes;
        bits ^= swap ^ (swap << shift);
    }
    bits
}

/// Which bytes stand behind an odd run of backslashes.
#[inline(always)]
fn escaped_bytes(backslashes: u64, carry: &mut u64) -> u64 {
    if backslashes == 0 {
        return std::mem::take(carry);
    }
    let starts = backslashes & !*carry;
    let follows = starts << 1 | *carry;
    let odd_starts = starts & !EVEN & !follows;
    let (even_runs, overflow) = odd_starts.overflowing_add(starts);
    *carry = u64::from(overflow);
    (EVEN ^ (even_runs << 1)) & follows
}

/// Each bit becomes the parity of itself and all below it: set from a quote up to the next one.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::random::Rng;

    #[test]
    fn a_mask_has_one_bit_for_each_byte() {
        for position in 0..BLOCK {
            let mut block = [b'.'; BLOCK];
            block[position] = b'x';
            assert_eq!(mask(&block, |byte| byte == b'x'), 1 << position);
            assert_eq!(mask(&block, |byte| byte == b'.'), !(1 << position));
        }
    }

    #[test]
    fn escapes_agree_with_a_byte_loop_across_blocks() {
        let mut random = Rng(1);
        let mut carry = 0;
        let mut escaped_next = false;
        for _ in 0..2000 {
            let seed = random.word();
            let backslashes = if seed & 7 == 0 { u64::MAX } else { seed | seed >> 3 };
            let mut expected = 0;
            for bit in 0..64 {
                if escaped_next {
                    expected |= 1 << bit;
                }
                escaped_next = !escaped_next && backslashes >> bit & 1 == 1;
            }
            assert_eq!(escaped_bytes(backslashes, &mut carry), expected);
        }
    }
}
