//! Whose a namespace, a directory or a cgroup is: its name carries the number and the start of the
//! process that made it, so a later run knows what nobody will take away any more.

use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

/// What every name that this program makes outside its own files begins with.
pub(crate) const PREFIX: &str = "weir-stack-";

/// A process, told from a later one of the same number by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pid: u32,
    /// Clock ticks since boot (proc_pid_stat(5), field 22).
    start: u64,
}

impl Mark {
    /// This process.
    pub(crate) fn own() -> Result<Self> {
        Self::of(std::process::id()).context("this process is not in /proc")
    }

    /// The process of that number, if there is one.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command in parentheses may hold anything, also parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        // One that has ended and waits for its parent is gone.
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let start = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// Out of a name that begins with [`PREFIX`] and a mark.
    pub(crate) fn in_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
        let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { pid, start })
    }

    /// A name of something of this process's.
    pub(crate) fn name(self, what: &str) -> String {
        format!("{PREFIX}{self}-{what}")
    }

    /// Whether the process is still there.
    pub(crate) fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again_in_a_name() {
        let own = Mark::own().unwrap();
        assert_eq!(Mark::in_name(&own.name("server-2")), Some(own));
        assert_eq!(Mark::in_name(&format!("{PREFIX}{own}")), Some(own));
        assert!(own.lives());
    }

    #[test]
    fn names_of_others_carry_no_mark() {
        for name in [
            "server",
            "weir-stack-",
            "weir-stack-x-1-a",
            "weir-stack-12",
            "weir-demo-1-2-a",
        ] {
            assert_eq!(Mark::in_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_later_process_of_the_same_number_is_another() {
        let own = Mark::own().unwrap();
        assert!(
            !Mark {
                start: own.start + 1,
                ..own
            }
            .lives()
        );
    }
}
