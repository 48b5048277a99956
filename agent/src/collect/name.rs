//! Which service each place of the kernel's tables belongs to.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use weir_ebpf::layout::OwnerKey;

use super::sum::POINTS;
use crate::config::{Labels, Limits};
use crate::event::{Place, comm_text};
use crate::metrics::Subject;
use crate::service::{Owner, Resolver, Service};

const OTHER: &str = "other";

/// Points of the agent's own metrics, at most; no service takes their room.
const OWN_POINTS: usize = 250;

/// Names of places, learned once for each.
pub(super) struct Names {
    /// The only reader of /proc.
    pub(super) resolver: Resolver,
    labels: Labels,
    max_services: usize,
    max_series: usize,
    /// Peer groups by number from 1 on; empty if none is configured.
    groups: Vec<String>,
    places: HashMap<u32, Known>,
    /// Subjects but `other`, with the number of their places.
    subjects: HashMap<Arc<Subject>, usize>,
    /// Services, that is, subjects without their peer group, with the number of their subjects.
    services: HashMap<Subject, usize>,
    other: Arc<Subject>,
    /// Services that found no place within the bounds.
    pub(super) folded: u64,
}

/// A place that has a name.
pub(super) struct Known {
    /// Who it is in the kernel's tables.
    pub(super) key: OwnerKey,
    /// The first process seen.
    pub(super) first: Place,
    /// `None` if it is counted as `other`.
    service: Option<Service>,
    subject: Arc<Subject>,
}

impl Names {
    pub(super) fn new(
        resolver: Resolver,
        labels: Labels,
        limits: &Limits,
        groups: Vec<String>,
    ) -> Self {
        let other = Arc::new(subject_of(None, &labels, &groups, 0));
        Self {
            resolver,
            labels,
            max_services: limits.max_services as usize,
            max_series: limits.max_series as usize,
            groups,
            places: HashMap::new(),
            subjects: HashMap::new(),
            services: HashMap::new(),
            other,
            folded: 0,
        }
    }

    /// Labels of a place; those of `other` for one that was never named.
    pub(super) fn subject(&self, slot: u32) -> Arc<Subject> {
        self.places
            .get(&slot)
            .map_or(&self.other, |known| &known.subject)
            .clone()
    }

    /// Names a place, unless it has its name.
    pub(super) fn learn(&mut self, key: &OwnerKey, first: Place) {
        if let Some(known) = self.places.get(&first.slot) {
            if known.key == *key {
                return;
            }
            self.forget(first.slot);
        }
        let service = self.resolver.resolve(&Owner {
            tgid: first.tgid,
            start_boottime_ns: first.start_ns,
            cgroup_id: key.cgroup,
            comm: comm_text(&key.comm),
        });
        let (service, subject) = match self.admit(&service, key.group) {
            Some(subject) => (Some(service), subject),
            None => {
                self.folded += 1;
                (None, self.other.clone())
            }
        };
        self.places.insert(
            first.slot,
            Known {
                key: *key,
                first,
                service,
                subject,
            },
        );
    }

    /// Labels for one more place of a service; `None` if that would be over a bound.
    fn admit(&mut self, service: &Service, group: u64) -> Option<Arc<Subject>> {
        let subject = subject_of(Some(service), &self.labels, &self.groups, group);
        if let Some((known, places)) = self.subjects.remove_entry(&subject) {
            self.subjects.insert(known.clone(), places + 1);
            return Some(known);
        }
        let who = subject_of(Some(service), &self.labels, &[], 0);
        let is_new = !self.services.contains_key(&who);
        // This one and `other` besides.
        let series = (self.subjects.len() + 2) * POINTS + OWN_POINTS;
        if (is_new && self.services.len() >= self.max_services) || series > self.max_series {
            return None;
        }
        *self.services.entry(who).or_default() += 1;
        let subject = Arc::new(subject);
        self.subjects.insert(subject.clone(), 1);
        Some(subject)
    }

    /// Number of services that are told apart.
    pub(super) fn services(&self) -> usize {
        self.services.len()
    }

    /// All named places.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &Known)> {
        self.places.iter().map(|(slot, known)| (*slot, known))
    }

    /// Labels of a place that is known, or of place 0, where all is counted that found none.
    pub(super) fn known(&self, slot: u32) -> Option<Arc<Subject>> {
        let known = self.places.get(&slot);
        match known {
            Some(known) => Some(known.subject.clone()),
            None => (slot == 0).then(|| self.other.clone()),
        }
    }

    /// All places that are counted under these labels, those on their way out included.
    pub(super) fn places_of(&self, subject: &Arc<Subject>) -> Vec<u32> {
        let unplaced = (*subject == self.other).then_some(0);
        let places = self.places.iter();
        // Places of the same labels share them.
        let named = places.filter(|(_, known)| Arc::ptr_eq(&known.subject, subject));
        unplaced
            .into_iter()
            .chain(named.map(|(slot, _)| *slot))
            .collect()
    }

    /// Whether any place is still counted under these labels.
    pub(super) fn is_named(&self, subject: &Arc<Subject>) -> bool {
        *subject == self.other || self.subjects.contains_key(subject)
    }

    /// Forgets a place, and its service if that was the last one.
    pub(super) fn forget(&mut self, slot: u32) {
        let Some(gone) = self.places.remove(&slot) else {
            return;
        };
        let Some(service) = gone.service else { return };
        if release(&mut self.subjects, &*gone.subject) {
            let who = subject_of(Some(&service), &self.labels, &[], 0);
            release(&mut self.services, &who);
        }
    }

    /// Takes new limits, which hold for what comes, and new labels. Returns the subject that each
    /// former one has become, if the labels changed.
    pub(super) fn reconfigure(
        &mut self,
        labels: Labels,
        limits: &Limits,
    ) -> HashMap<Arc<Subject>, Arc<Subject>> {
        self.max_services = limits.max_services as usize;
        self.max_series = limits.max_series as usize;
        let mut became = HashMap::new();
        if self.labels == labels {
            return became;
        }
        self.labels = labels;
        self.subjects.clear();
        self.services.clear();
        let other = Arc::new(subject_of(None, &self.labels, &self.groups, 0));
        became.insert(
            std::mem::replace(&mut self.other, other),
            self.other.clone(),
        );
        let mut places = std::mem::take(&mut self.places);
        for known in places.values_mut() {
            let admitted = known.service.as_ref();
            let admitted = admitted.and_then(|service| self.admit(service, known.key.group));
            if admitted.is_none() {
                known.service = None;
            }
            let subject = admitted.unwrap_or_else(|| self.other.clone());
            became.insert(known.subject.clone(), subject.clone());
            known.subject = subject;
        }
        self.places = places;
        became
    }
}

/// One user less; says whether that was the last one.
fn release<K, Q>(users: &mut HashMap<K, usize>, key: &Q) -> bool
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    let Some(count) = users.get_mut(key) else {
        return false;
    };
    *count -= 1;
    let was_last = *count == 0;
    if was_last {
        users.remove(key);
    }
    was_last
}

fn subject_of(
    service: Option<&Service>,
    labels: &Labels,
    groups: &[String],
    group: u64,
) -> Subject {
    let name = service.map_or(OTHER, |service| &service.name);
    let mut found = vec![("service", name.to_owned())];
    let mut add = |label, wanted: bool, value: Option<&String>| {
        if let Some(value) = value.filter(|_| wanted) {
            found.push((label, value.clone()));
        }
    };
    if let Some(service) = service {
        add("namespace", labels.namespace, service.namespace.as_ref());
        add("pod", labels.pod, service.pod.as_ref());
        add("container", labels.container, service.container.as_ref());
    }
    if !groups.is_empty() {
        let group = usize::try_from(group)
            .ok()
            .and_then(|group| groups.get(group.checked_sub(1)?));
        found.push(("peer_group", group.map_or(OTHER, String::as_str).to_owned()));
    }
    found.sort_unstable();
    Subject { labels: found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::NoPodNames;

    fn names(limits: &Limits, groups: &[&str]) -> Names {
        let proc = std::path::PathBuf::from("/nonexistent");
        let resolver = Resolver::with_roots(proc, None, Box::new(NoPodNames));
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Names::new(resolver, Labels::default(), limits, groups)
    }

    fn learn(names: &mut Names, slot: u32, comm: &str, group: u64) {
        let mut key = OwnerKey {
            group,
            ..OwnerKey::default()
        };
        key.comm[..comm.len()].copy_from_slice(comm.as_bytes());
        let first = Place {
            slot,
            tgid: slot,
            start_ns: 1,
        };
        names.learn(&key, first);
    }

    fn service(names: &Names, slot: u32) -> String {
        let subject = names.subject(slot);
        let found = subject.labels.iter().find(|(name, _)| *name == "service");
        found.unwrap().1.clone()
    }

    #[test]
    fn services_over_the_bound_are_other_until_one_is_gone() {
        let limits = Limits {
            max_services: 2,
            ..Limits::default()
        };
        let mut names = names(&limits, &[]);
        for (slot, comm) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
            learn(&mut names, slot, comm, 0);
        }
        assert_eq!((names.services(), names.folded), (2, 1));
        assert_eq!(service(&names, 3), "a");
        assert_eq!(service(&names, 4), "other");
        names.forget(1);
        assert_eq!(names.services(), 2, "a has another place");
        names.forget(3);
        learn(&mut names, 5, "d", 0);
        assert_eq!((names.services(), names.folded), (2, 1));
        assert_eq!(service(&names, 5), "d");
    }

    #[test]
    fn series_over_the_bound_are_other() {
        let limits = Limits {
            max_series: 1_000,
            max_services: 100_000,
        };
        let mut names = names(&limits, &["x", "y"]);
        for slot in 1..1_000 {
            learn(
                &mut names,
                slot,
                &(slot / 2).to_string(),
                u64::from(slot % 2),
            );
        }
        let subjects = names.subjects.len() + 1;
        assert!(subjects * POINTS + OWN_POINTS <= 1_000);
        assert!((subjects + 1) * POINTS + OWN_POINTS > 1_000);
        assert_eq!(names.folded as usize, 999 - names.subjects.len());
    }

    #[test]
    fn a_place_that_has_a_new_owner_lets_the_old_service_go() {
        let mut names = names(&Limits::default(), &[]);
        learn(&mut names, 1, "a", 0);
        learn(&mut names, 1, "b", 0);
        assert_eq!((names.services(), names.places().count()), (1, 1));
    }

    #[test]
    fn the_places_of_a_service_are_found() {
        let limits = Limits {
            max_services: 2,
            ..Limits::default()
        };
        let mut names = names(&limits, &["x"]);
        for (slot, comm, group) in [
            (1, "a", 1),
            (2, "b", 1),
            (3, "a", 1),
            (4, "c", 1),
            (5, "a", 0),
        ] {
            learn(&mut names, slot, comm, group);
        }
        let places = |slot| {
            let mut places = names.places_of(&names.known(slot).unwrap());
            places.sort_unstable();
            places
        };
        assert_eq!(places(1), [1, 3], "towards other peers it is another");
        assert_eq!(places(5), [5]);
        assert_eq!(places(0), [0, 4], "what found no room is other");
        assert!(names.known(6).is_none());
    }

    #[test]
    fn new_labels_rename_every_place_and_say_what_became_of_it() {
        let mut names = names(&Limits::default(), &["x"]);
        learn(&mut names, 1, "a", 1);
        let former = names.subject(1);
        let labels = Labels {
            pod: true,
            ..Labels::default()
        };
        let became = names.reconfigure(labels.clone(), &Limits::default());
        assert_eq!(became[&former], names.subject(1));
        assert_eq!((names.services(), service(&names, 1)), (1, "a".to_owned()));
        assert!(names.reconfigure(labels, &Limits::default()).is_empty());
    }
}
