//! Alerting on the node, with Prometheus's rules: files, evaluation, state, pages.
//!
//! `file` → `group` (queries a store, drives `state`, fills `template`s) → `page` → receivers.
//! Nothing in here reads a clock: time is an argument everywhere but in the notifiers.

// The rules.
pub mod cause;
pub mod check;
pub mod demand;
pub mod duration;
pub mod expression;
pub mod file;
pub mod group;
pub mod loss;
pub mod name;
pub mod part;
pub mod rule;
pub mod set;
pub mod source;
pub mod state;
pub mod template;
pub mod unit;
pub mod view;

// The rules at work.
pub mod clock;
pub mod engine;
pub mod excerpt;
pub mod feed;

// What becomes of a page.
pub mod api;
pub mod config;
pub mod log;
pub mod measure;
pub mod notify;
pub mod page;
pub mod paging;
