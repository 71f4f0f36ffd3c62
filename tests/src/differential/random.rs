//! Random numbers that are the same for a seed on every machine and with every version of every library:
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).

/// A source of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` to `to`, both included.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        assert!(from <= to, "there is no number from {from} to {to}");
        // The bias of the remainder is of no consequence for ranges this small.
        from + self.any() % (to - from + 1)
    }

    /// Any index of something that has `len` of them.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn index(&mut self, len: usize) -> usize {
        self.between(0, len as u64 - 1) as usize
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.any() % 100 < percent
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_those_of_the_paper() {
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.any(), random.any()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }
}
