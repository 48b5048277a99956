//! Lets the agent exchange the layouts with kernel maps.

use crate::field::{Fields, Settings};
use crate::layout::*;

macro_rules! pod {
    ($($layout:ty),* $(,)?) => { $(
        // SAFETY: `repr(C)`, integers only, any bit pattern is valid, and no padding (checked by
        // the test below for each of them).
        unsafe impl aya::Pod for $layout {}
    )* };
}

pod!(
    Fields,
    Settings,
    Stats,
    Live,
    Socket,
    Seed,
    Told,
    OwnerKey,
    Owner,
    ListenerKey,
    Listener,
    Thread,
    Counts
);
