//! Streams and player of the stack, which `weir-stack media` makes and fetches into the cache
//! outside the tree: the ladder by ffmpeg, hls.js by npm, both of fixed versions.

use std::process::Command;

use anyhow::Result;

use crate::{
    build,
    command::{run, step},
};

/// Makes and fetches what is not in the cache.
pub(crate) fn ensure() -> Result<()> {
    let [_, stack] = build::agent_and_stack(false)?;
    step!("weir-stack media: streams to loop, and the player hls.js for browsers");
    run(Command::new(&stack).arg("media").stdout(std::io::stderr()))
}
