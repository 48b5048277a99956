//! Weir's agent: what the kernel's probes saw, attributed to services and exported.

#![deny(unsafe_code)]

// The pipeline, in its order.
pub mod collect;
pub mod event;
pub mod export;
pub mod kernel;
pub mod metrics;
pub mod service;

// Prometheus's rules on the node.
pub mod alert;

// What drives it.
pub mod app;
pub mod cli;
mod client;
pub mod config;
pub mod doctor;
pub mod document;
pub mod govern;
pub mod log;
pub mod reader;
mod secret;
mod seldom;
pub mod start;
