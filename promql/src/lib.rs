//! PromQL on a small, bounded store of series. Knows nothing of Weir.
//!
//! [`parse::parse`] makes a tree of a text, [`eval::instant`] and
//! [`eval::range`] evaluate it on any [`storage::Storage`], of which
//! [`store::Store`] is one. [`testscript`] runs Prometheus's own test scripts.

#![forbid(unsafe_code)]

pub mod annotation;
pub mod ast;
pub mod eval;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod number;
pub mod parse;
pub mod storage;
pub mod store;
pub mod testscript;
pub mod value;
