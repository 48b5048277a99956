//! Open files: each connection is one, and the limit that a shell hands down is mostly too low.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides those of connections.
const OTHERS: u64 = 256;

/// Raises the limit of open files to what so many connections need, as far as it goes. Returns how
/// many connections fit.
pub(crate) fn raise_limit(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let need = (connections as u64).saturating_add(OTHERS);
    if limit.current.is_none_or(|current| current >= need) {
        return connections;
    }
    // Above the hard limit is for those with CAP_SYS_RESOURCE.
    let hard = limit.maximum;
    let wishes = [hard.map(|hard| hard.max(need)), hard];
    let raised = wishes.into_iter().find_map(|maximum| {
        let current = maximum.map_or(need, |maximum| maximum.min(need));
        let wish = Rlimit {
            current: Some(current),
            maximum,
        };
        setrlimit(Resource::Nofile, wish).is_ok().then_some(current)
    });
    let files = raised.or(limit.current).unwrap_or(need);
    usize::try_from(files.saturating_sub(OTHERS)).map_or(connections, |fit| fit.min(connections))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_at_most_what_was_asked_for_and_within_the_limit() {
        assert_eq!(raise_limit(10), 10);
        let fit = raise_limit(usize::MAX >> 1);
        let limit = getrlimit(Resource::Nofile).current;
        assert!(fit > 0 && limit.is_none_or(|limit| fit as u64 + OTHERS <= limit));
    }
}
