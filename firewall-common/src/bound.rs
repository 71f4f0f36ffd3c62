//! Bounds in a form that the verifier sees.
//!
//! What is in bounds by construction the compiler knows too, and it drops a mask as needless. The verifier knows less,
//! that of Linux 6.1 still less than later ones: it forgets the bounds of a number once it was copied as 32 bits.

/// `number & MASK`, by an instruction that the compiler does not drop.
#[inline(always)]
pub fn masked<const MASK: i32>(number: usize) -> usize {
    const { assert!(MASK >= 0) };
    #[cfg(target_arch = "bpf")]
    {
        let mut masked = number;
        // SAFETY: one instruction on one register, of whose outcome the compiler is then told.
        unsafe {
            core::arch::asm!(
                "{number} &= {mask}",
                number = inout(reg) masked,
                mask = const MASK,
                options(pure, nomem, nostack, preserves_flags)
            );
            core::hint::assert_unchecked(masked <= MASK as usize);
        }
        masked
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number & MASK as usize
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_mask_keeps_what_is_below_it() {
        for (number, within) in [(0, 0), (5, 5), (15, 15), (16, 0), (usize::MAX, 15)] {
            assert_eq!(masked::<15>(number), within);
        }
    }
}
