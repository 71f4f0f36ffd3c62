//! The controller of fwx as a library.
pub mod capture;
pub mod policy;
