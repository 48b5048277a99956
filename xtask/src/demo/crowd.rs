//! What the users of the stack went through, added up from the truth that they write: not one
//! figure of it comes from Weir.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::truth::Line;

/// Sessions told apart; the demo's crowd has far fewer.
const MOST_SESSIONS: usize = 10_000;

/// Sums since the crowd came, but for what is said to be of now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Experience {
    /// Players there now.
    pub(super) watching: usize,
    /// Those of them whose playback stands still now.
    pub(super) stalled: usize,
    /// Times from coming to the first frame, in milliseconds, sorted.
    #[serde(serialize_with = "as_quantiles")]
    pub(super) startup_ms: Vec<f64>,
    pub(super) stalls: u64,
    /// Of stalls that are over.
    pub(super) stalled_ms: f64,
    pub(super) media_bytes: u64,
    /// Behind live, mean of the players that said so last; seconds.
    pub(super) latency_s: Option<f64>,
    /// Chat users there now.
    pub(super) chatting: usize,
    pub(super) said: u64,
    pub(super) messages: Delivered,
    /// Messages that chat users can never get.
    pub(super) missed: u64,
    /// Gamers there now.
    pub(super) playing: usize,
    pub(super) snapshots: Delivered,
    /// Times without a snapshot for more than three ticks.
    pub(super) gaps: u64,
    pub(super) failures: u64,
    /// Connections that were not ended by the user.
    pub(super) cut_off: u64,
    /// What goes wrong now.
    pub(super) faults_now: BTreeSet<String>,
    pub(super) faults_begun: u64,
    pub(super) lines_not_understood: u64,
}

/// Messages received, and how long they took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Delivered {
    pub(super) count: u64,
    /// Of those whose sender said when.
    pub(super) timed: u64,
    pub(super) sum_ms: f64,
    pub(super) worst_ms: f64,
}

/// The sessions behind the sums.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) experience: Experience,
    roles: HashMap<String, String>,
    stalled: HashSet<String>,
    behind_s: HashMap<String, f64>,
}

impl Crowd {
    /// Adds a line of truth.
    pub(super) fn take(&mut self, line: &Line) {
        let sums = &mut self.experience;
        match line.kind.as_str() {
            "start" => self.come(line),
            "end" => self.leave(line),
            "startup" => {
                let place = sums.startup_ms.partition_point(|ms| *ms < line.ms);
                if sums.startup_ms.len() < MOST_SESSIONS {
                    sums.startup_ms.insert(place, line.ms);
                }
            }
            "stall_begin" => {
                sums.stalls += 1;
                if self.roles.contains_key(&line.session) {
                    self.stalled.insert(line.session.clone());
                }
                sums.stalled = self.stalled.len();
            }
            "stall_end" => {
                sums.stalled_ms += line.duration_ms;
                self.stalled.remove(&line.session);
                sums.stalled = self.stalled.len();
            }
            "level" => self.level(line),
            "sent" if ["message", "vote", "gift"].contains(&line.what.as_str()) => {
                sums.said += line.messages;
            }
            "received" => match line.what.as_str() {
                "message" | "vote" | "gift" => sums.messages.add(line),
                "snapshot" => sums.snapshots.add(line),
                _ => {}
            },
            "missed" => sums.missed += line.messages,
            "gap" => sums.gaps += 1,
            "failure" => sums.failures += 1,
            "disconnect" if !["done", "closed"].contains(&line.reason.as_str()) => {
                sums.cut_off += 1;
            }
            "fault" => self.fault(line),
            _ => {}
        }
    }

    fn come(&mut self, line: &Line) {
        if self.roles.len() < MOST_SESSIONS {
            self.roles.insert(line.session.clone(), line.role.clone());
        }
        self.count_roles();
    }

    fn leave(&mut self, line: &Line) {
        self.roles.remove(&line.session);
        self.stalled.remove(&line.session);
        self.behind_s.remove(&line.session);
        self.experience.stalled = self.stalled.len();
        self.count_roles();
    }

    fn count_roles(&mut self) {
        let count = |role: &str| self.roles.values().filter(|known| *known == role).count();
        self.experience.watching = count("player");
        self.experience.chatting = count("chatter");
        self.experience.playing = count("gamer");
    }

    fn level(&mut self, line: &Line) {
        self.experience.media_bytes += line.bytes;
        if let Some(latency_s) = line.latency_s
            && self.roles.contains_key(&line.session)
        {
            self.behind_s.insert(line.session.clone(), latency_s);
        }
        let count = self.behind_s.len() as f64;
        let mean = self.behind_s.values().sum::<f64>() / count;
        self.experience.latency_s = (count > 0.0).then_some(mean);
    }

    fn fault(&mut self, line: &Line) {
        let now = &mut self.experience.faults_now;
        if line.phase == "end" {
            now.remove(&line.fault);
            return;
        }
        self.experience.faults_begun += 1;
        if line.phase == "begin" {
            now.insert(line.fault.clone());
        }
    }
}

impl Delivered {
    fn add(&mut self, line: &Line) {
        self.count += line.messages;
        if let (Some(mean), Some(max)) = (line.mean_ms, line.max_ms) {
            self.timed += line.messages;
            self.sum_ms += mean * line.messages as f64;
            self.worst_ms = self.worst_ms.max(max);
        }
    }

    /// Mean delay of what came since an earlier reading, in seconds.
    pub(super) fn mean_since(&self, before: &Self) -> Option<f64> {
        let timed = (self.timed - before.timed) as f64;
        (timed > 0.0).then(|| (self.sum_ms - before.sum_ms) / timed / 1e3)
    }
}

/// The one in the middle and the last of sorted values.
pub(super) fn median_and_most(sorted: &[f64]) -> Option<(f64, f64)> {
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

fn as_quantiles<S: serde::Serializer>(sorted: &[f64], to: S) -> Result<S::Ok, S::Error> {
    let ends = median_and_most(sorted);
    serde_json::json!({
        "count": sorted.len(),
        "median": ends.map(|(median, _)| median),
        "max": ends.map(|(_, most)| most),
    })
    .serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Experience {
        let mut crowd = Crowd::default();
        for line in lines {
            crowd.take(&serde_json::from_str(line).unwrap());
        }
        crowd.experience
    }

    #[test]
    fn a_stall_counts_from_its_begin_and_takes_time_at_its_end() {
        let lines = [
            r#"{"mono_ns":1,"kind":"start","session":"p","role":"player"}"#,
            r#"{"mono_ns":2,"kind":"startup","session":"p","ms":400.0,"rung_bps":1,"latency_s":1.0}"#,
            r#"{"mono_ns":3,"kind":"stall_begin","session":"p","playhead_s":1.0,"waiting_for":"media"}"#,
            r#"{"mono_ns":4,"kind":"stall_end","session":"p","duration_ms":1500.0,"playhead_s":1.0,"recovered":true}"#,
        ];
        let during = after(&lines[..3]);
        assert_eq!((during.watching, during.stalled, during.stalls), (1, 1, 1));
        assert_eq!(during.startup_ms, [400.0]);
        let over = after(&lines);
        assert_eq!((over.stalled, over.stalls, over.stalled_ms), (0, 1, 1500.0));
    }

    #[test]
    fn who_leaves_while_stalled_is_gone() {
        let left = after(&[
            r#"{"kind":"start","session":"p","role":"player"}"#,
            r#"{"kind":"stall_begin","session":"p"}"#,
            r#"{"kind":"end","session":"p"}"#,
        ]);
        assert_eq!((left.watching, left.stalled, left.stalls), (0, 0, 1));
    }

    #[test]
    fn delays_are_weighed_by_messages() {
        let received = after(&[
            r#"{"kind":"received","what":"message","messages":3,"bytes":9,"min_ms":1.0,"mean_ms":10.0,"max_ms":20.0}"#,
            r#"{"kind":"received","what":"vote","messages":1,"bytes":9,"min_ms":50.0,"mean_ms":50.0,"max_ms":50.0}"#,
            r#"{"kind":"received","what":"gift","messages":5,"bytes":9,"min_ms":null,"mean_ms":null,"max_ms":null}"#,
        ]);
        assert_eq!(received.messages.count, 9);
        assert_eq!(received.messages.worst_ms, 50.0);
        let mean = received.messages.mean_since(&Delivered::default());
        assert_eq!(mean, Some(0.02));
    }

    #[test]
    fn a_fault_is_in_force_until_its_end() {
        let begin = r#"{"kind":"fault","fault":"rate","phase":"begin","target":"l","detail":""}"#;
        let end = r#"{"kind":"fault","fault":"rate","phase":"end","target":"l","detail":""}"#;
        assert!(after(&[begin]).faults_now.contains("rate"));
        let over = after(&[begin, end, begin, end]);
        assert!(over.faults_now.is_empty());
        assert_eq!(over.faults_begun, 2);
    }
}
