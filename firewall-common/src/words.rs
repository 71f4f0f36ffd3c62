//! Clearing and comparing values word by word.
//!
//! For BPF the compiler turns an assignment of zeros into a call of `memset`, which there is a loop over
//! bytes: a third of what parsing a packet costs. Stores that must not be merged stay what they are.

use bytemuck::Zeroable;

/// Sets every byte of `value` to zero, eight at a time.
#[inline(always)]
pub fn clear<T: Zeroable>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8) };
    let words = core::ptr::from_mut(value).cast::<u64>();
    for index in 0..size_of::<T>() / 8 {
        // SAFETY: the word lies within the value, which is aligned for it, and all zeros are a valid T.
        unsafe { words.add(index).write_volatile(0) }
    }
}

/// Whether two values have the same bytes. A derived comparison becomes a call of `memcmp`.
#[inline(always)]
pub fn same<T: bytemuck::Pod>(a: &T, b: &T) -> bool {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let (a, b) = (core::ptr::from_ref(a).cast::<u32>(), core::ptr::from_ref(b).cast::<u32>());
    let mut differences = 0;
    for index in 0..size_of::<T>() / 4 {
        // SAFETY: the words lie within the values, which are aligned for them.
        differences |= unsafe { a.add(index).read() ^ b.add(index).read() };
    }
    differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;

    #[test]
    fn every_byte_is_cleared() {
        let mut flow: Flow = bytemuck::cast([0x55u8; size_of::<Flow>()]);
        clear(&mut flow);
        assert_eq!(flow, Flow::default());
    }

    #[test]
    fn one_bit_makes_a_difference() {
        let flow: Flow = bytemuck::cast([0x55u8; size_of::<Flow>()]);
        assert!(same(&flow, &flow.clone()));
        for bit in 0..8 * size_of::<Flow>() {
            let mut other = flow;
            bytemuck::bytes_of_mut(&mut other)[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&flow, &other));
        }
    }
}
