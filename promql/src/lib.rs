//! PromQL on a small, bounded store of series. Knows nothing of Weir.

#![forbid(unsafe_code)]
