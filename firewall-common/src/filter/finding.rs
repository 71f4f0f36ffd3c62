//! What a filter can object to, and what each profile does about it.

use core::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign};

use bytemuck::{Pod, Zeroable};

use crate::policy::Profile;

/// What a finding leads to where the filter's mode is [`Enforce`](crate::policy::Mode::Enforce).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is reported and the packet passes.
    Note,
    /// It is reported and the connection is killed.
    Kill,
}

/// All there is to say about one kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingInfo {
    /// Its number within the filter and its bit in [`Findings`]: below 32, never used again.
    pub code: u16,
    /// Its name in events and on the command line, in kebab-case.
    pub name: &'static str,
    /// What it means, in one line.
    pub summary: &'static str,
    /// The document and section that it departs from.
    pub reference: &'static str,
    /// What it leads to in the standard profile.
    pub standard: Effect,
    /// What it leads to in the strict profile.
    pub strict: Effect,
}

impl FindingInfo {
    /// What the finding leads to in `profile`.
    pub const fn effect(&self, profile: Profile) -> Effect {
        match profile {
            Profile::Standard => self.standard,
            Profile::Strict => self.strict,
        }
    }
}

/// Makes the list of a filter's findings: for each its name here, its code, its name in events, what it leads to in
/// the standard and in the strict profile, what it means, and the document and section that it departs from. Codes
/// stand in events: append only.
macro_rules! findings {
    (
        $(#[$doc:meta])*
        $vis:vis enum $Finding:ident;
        $($id:ident = $code:literal, $name:literal, [$standard:ident, $strict:ident]:
            $summary:literal, $reference:literal;)*
    ) => {
        $(#[$doc])*
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $Finding {
            $(#[doc = $summary] $id = $code,)*
        }

        impl $Finding {
            /// The set of this finding alone.
            #[inline(always)]
            pub const fn bit(self) -> $crate::filter::finding::Findings {
                $crate::filter::finding::Findings::of(self as u16)
            }
        }

        /// All findings, in the order of codes.
        $vis const FINDINGS: [$crate::filter::finding::FindingInfo; [$($code),*].len()] = [
            $($crate::filter::finding::FindingInfo {
                code: $code,
                name: $name,
                summary: $summary,
                reference: $reference,
                standard: $crate::filter::finding::Effect::$standard,
                strict: $crate::filter::finding::Effect::$strict,
            },)*
        ];
    };
}
pub(in crate::filter) use findings;

/// A set of findings of one filter, bit n standing for code n.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Findings(u32);

impl Findings {
    /// No finding.
    pub const EMPTY: Self = Self(0);

    /// The one finding `code`; no finding if the code is out of range.
    #[inline(always)]
    pub const fn of(code: u16) -> Self {
        if code < u32::BITS as u16 { Self(1 << code) } else { Self::EMPTY }
    }

    /// Those findings of `table` that kill in `profile`.
    pub const fn killing(table: &[FindingInfo], profile: Profile) -> Self {
        let mut set = Self::EMPTY;
        let mut i = 0;
        while i < table.len() {
            if matches!(table[i].effect(profile), Effect::Kill) {
                set = set.with(Self::of(table[i].code));
            }
            i += 1;
        }
        set
    }

    /// The set of these bits.
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits of the set.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether there is no finding.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `code` is in the set.
    #[inline(always)]
    pub const fn contains(self, code: u16) -> bool {
        self.0 & Self::of(code).0 != 0
    }

    /// The lowest code in the set.
    ///
    /// BPF has no instruction that counts trailing zeros, and a chain of tests gives the verifier a way for
    /// each code. So the lowest bit is looked up by a de Bruijn sequence (Leiserson, Prokop, Randall:
    /// "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998).
    #[inline(always)]
    pub const fn first(self) -> Option<u16> {
        const SEQUENCE: u32 = 0x077c_b531;
        static CODES: [u8; 32] = {
            let mut codes = [0; 32];
            let mut code = 0;
            while code < 32 {
                codes[(SEQUENCE << code >> 27) as usize] = code;
                code += 1;
            }
            codes
        };
        if self.0 == 0 {
            return None;
        }
        let lowest = self.0 & self.0.wrapping_neg();
        Some(CODES[(lowest.wrapping_mul(SEQUENCE) >> 27) as usize] as u16)
    }

    /// The set with `other` added.
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set with `other` taken out.
    #[inline(always)]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitAnd for Findings {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitAndAssign for Findings {
    #[inline(always)]
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

impl BitOr for Findings {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Findings {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_is_the_lowest_code() {
        assert_eq!(Findings::EMPTY.first(), None);
        for low in 0..32 {
            for high in low..32 {
                let set = Findings::of(low) | Findings::of(high);
                assert_eq!(set.first(), Some(low));
                assert_eq!(set.without(Findings::of(low)).first(), (high > low).then_some(high));
            }
        }
    }

    #[test]
    fn a_code_out_of_range_is_in_no_set() {
        assert!(Findings::of(32).is_empty());
        assert!(!Findings(u32::MAX).contains(32));
    }
}
