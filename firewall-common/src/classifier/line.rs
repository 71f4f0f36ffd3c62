//! What a policy's image is made of, and what its first line says.

use bytemuck::{Pod, Zeroable};

/// Number of 32-bit words of a [`Line`].
pub const WORDS: usize = 32;
/// Rules of a block: the bits of a [`Line`].
pub const BLOCK_RULES: usize = 64 * BLOCK_WORDS;
/// 64-bit words of a block.
pub const BLOCK_WORDS: usize = WORDS / 2;
/// Most blocks of rules; a class has a word for each.
pub const BLOCKS_MAX: usize = 16;
/// Rules of which one line says what they do.
pub const TERMS_PER_LINE: u32 = (size_of::<Line>() / size_of::<Terms>()) as u32;

/// A [`Line`] as the kernel's tables have it.
pub type LineWords = [u64; WORDS / 2];

/// 128 bytes of an image. What they are is said by whoever refers to them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Line(pub LineWords);

impl Line {
    /// The line as 32-bit words.
    #[inline(always)]
    pub fn words(&self) -> &[u32; WORDS] {
        bytemuck::cast_ref(&self.0)
    }

    /// The line of these words.
    pub fn of(words: [u32; WORDS]) -> Self {
        Self(bytemuck::cast(words))
    }

    /// The line as the head of an image.
    #[inline(always)]
    pub fn head(&self) -> &Head {
        bytemuck::cast_ref(self)
    }

    /// The line as terms of rules.
    #[inline(always)]
    pub fn terms(&self) -> &[Terms; TERMS_PER_LINE as usize] {
        bytemuck::cast_ref(self)
    }
}

/// Where an image is read from: the kernel's table, or memory.
pub trait Lines {
    /// The line at `index`. `None`: there is none.
    fn line(&self, index: u32) -> Option<&Line>;

    /// The first line, which says where the others are.
    #[inline(always)]
    fn head(&self) -> Option<&Head> {
        self.line(0).map(Line::head)
    }

    /// The word at `index`, counted from the first of line 0.
    #[inline(always)]
    fn word(&self, index: u32) -> Option<u32> {
        let line = self.line(index / WORDS as u32)?;
        Some(line.words()[index as usize % WORDS])
    }

    /// [`first_common`](super::first_common) of the lines at these places, for who wants it to be a function of its own.
    /// `None`: one of them is not there.
    #[inline(always)]
    fn first_common(&self, a: u32, b: u32, c: u32, d: u32) -> Option<u32> {
        let (a, b, c, d) = (self.line(a)?, self.line(b)?, self.line(c)?, self.line(d)?);
        Some(super::first_common(a, b, c, d))
    }

    /// What rule `number` says besides what it matches. `None`: the policy has no such rule.
    #[inline(always)]
    fn terms(&self, number: u16) -> Option<&Terms> {
        let head = self.head()?;
        let number = u32::from(number);
        if number >= head.terms_count {
            return None;
        }
        let line = self.line(head.terms + number / TERMS_PER_LINE)?;
        Some(&line.terms()[(number % TERMS_PER_LINE) as usize])
    }
}

impl Lines for [Line] {
    fn line(&self, index: u32) -> Option<&Line> {
        self.get(index as usize)
    }
}

/// What the policy says whatever its rules say, and where the rest of its image is. Lines are counted from this
/// one, which is 0: as a reference that number stands for "nothing".
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Head {
    /// The [`Action`](crate::policy::Action) for a flow that no rule speaks about.
    pub default_action: u32,
    /// Most flows without an answer of one source address at a time; 0: no limit.
    pub source_half_open_max: u32,
    /// Most new flows a second of one source address, with bursts of a second's worth; 0: no limit.
    pub source_new_per_second: u32,
    /// TCP flows a second that begin without an answer, in all, beyond which a SYN attack is on; 0: none ever
    /// is.
    pub syn_attack_per_second: u32,
    /// A [`SynAuthentication`](crate::policy::SynAuthentication).
    pub syn_authentication: u8,
    /// A [`NewFlow`](crate::policy::NewFlow).
    pub new_flow: u8,
    /// 1: a class of addresses is asymmetric.
    pub has_asymmetric: u8,
    /// 1: sources are checked, as the line of [`Self::sources`] says.
    pub checks_sources: u8,
    /// The classes of IPv4 addresses.
    pub addresses_v4: Tree,
    /// The classes of IPv6 addresses.
    pub addresses_v6: Tree,
    /// The classes of services, see [`service`](super::service).
    pub services: Tree,
    /// The first of the [`Place`]s, one for each bit of the blocks; in words of the image.
    pub places: u32,
    /// First line of the [`Terms`] of the rules, by number.
    pub terms: u32,
    /// One more than the highest number of a rule.
    pub terms_count: u32,
    /// The first rule of each block, counted from 0 in the order of the file. They rise; those of blocks that
    /// there are not are the highest number there is.
    pub firsts: [u16; BLOCKS_MAX],
    /// The first of the classes of interfaces, one for each of their
    /// [`INTERFACE_NUMBERS`](super::INTERFACE_NUMBERS), in words of the image; 0: no rule asks for one.
    pub interfaces: u32,
    /// Bit set of [`Essential`](crate::essential::Essential): what passes whatever the rules say.
    pub essential: u32,
    /// Must be 0.
    pub reserved2: [u32; 6],
    /// Most ICMP errors a second by which rejects are answered.
    pub reject_per_second: u32,
    /// The line of [`Sources`](super::Sources).
    pub sources: u32,
}

/// A tree of ranges, see [`tree`](super::tree).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tree {
    /// Line of the root; without a level, index of the one value, in words of the image.
    pub root: u32,
    /// How many nodes lie on the way from the root to a value.
    pub levels: u32,
}

/// Which rule a bit of a block stands for: its place in the file, from 0, above its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Place among the rules, from 0: the lowest that matches decides.
    pub order: u16,
    /// The rule's number, from 1.
    pub number: u16,
}

impl Place {
    /// As it lies in the image.
    pub const fn to_word(self) -> u32 {
        (self.order as u32) << 16 | self.number as u32
    }

    /// Out of the image.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self { order: (word >> 16) as u16, number: word as u16 }
    }
}

/// What a rule does with what it matches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Terms {
    /// An [`Action`](crate::policy::Action).
    pub action: u32,
    /// Most flows without an answer at a time that the rule lets in; 0: no limit.
    pub half_open_max: u32,
    /// Most new flows a second that the rule lets in, with bursts of a second's worth; 0: no limit.
    pub new_per_second: u32,
    /// Bit set of [`Terms::QUIET`].
    pub flags: u32,
}

impl Terms {
    /// What the rule decides and lets in makes no events, but for kills and what filters find.
    pub const QUIET: u32 = 1;
}
