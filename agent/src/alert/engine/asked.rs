//! Which kernel events immediate groups wait for.

use tokio::sync::watch;
use tracing::info;
use weir_ebpf::change::Facts;
use weir_promql::store::needs;

use super::{Inner, LOOKBACK_MS, Rules};
use crate::alert::group::Group;
use crate::metrics::change::facts_selected;

impl Rules {
    /// The rare facts of which the kernel should tell: those that change what immediate groups
    /// select. Changes when rules are reloaded.
    pub fn asked(&self) -> watch::Receiver<Facts> {
        self.asked.subscribe()
    }
}

impl Inner {
    /// The facts that immediate groups wait for; says which groups wait in vain.
    pub(super) fn asked(&self) -> Facts {
        let mut all = Facts::NONE;
        for group in self
            .immediate
            .keys()
            .filter_map(|place| self.set.groups.get(*place))
        {
            let facts = facts_of(group);
            if facts == Facts::NONE {
                info!(
                    group = group.name,
                    "immediate, but selects nothing that kernel events tell of: evaluated on its tick only"
                );
            }
            all = all.and(facts);
        }
        all
    }
}

fn facts_of(group: &Group) -> Facts {
    let trees = group.rules.iter().map(|rule| rule.written.expr.tree());
    let needs = trees.flat_map(|tree| needs(tree, LOOKBACK_MS, 0).unwrap_or_default());
    needs.fold(Facts::NONE, |all, need| {
        all.and(facts_selected(&need.matchers))
    })
}
