//! What the kernel's probes and the agent share: layouts, bucket maths, decisions that are plain
//! functions. Runs and is tested on any machine.

#![cfg_attr(not(test), no_std)]

pub mod change;
pub mod field;
pub mod hist;
pub mod layout;
#[cfg(feature = "user")]
mod pod;
pub mod tcp;
