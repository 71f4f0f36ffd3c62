//! What the tests of every filter share.

pub(crate) mod talk;
