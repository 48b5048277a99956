//! Who comes when and does what: pure functions of seed and scene, so that a run can be repeated
//! and load stays open-loop (nobody waits for the server before coming).

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::player::Act;
use super::scene::{Burst, Rush, Talking, Viewing};

/// Most acts planned for one viewer.
const ACTS: usize = 1000;

/// One user's coming.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// From the start of the run, seconds.
    pub(crate) at_s: f64,
    /// How long the user stays, seconds.
    pub(crate) stay_s: f64,
    /// Seed of all else about the user.
    pub(crate) seed: u64,
}

/// What decides about arrivals, whichever the sort of user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coming {
    pub(crate) over_s: f64,
    pub(crate) rush: Option<Rush>,
    pub(crate) stay_s: f64,
    pub(crate) stay_least_s: f64,
}

/// `count` users in order of coming: a Poisson process of known count, and the rush.
pub(crate) fn arrivals(seed: u64, coming: Coming, count: usize) -> Vec<Arrival> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut arrivals: Vec<_> = (0..count)
        .map(|_| {
            let in_rush = coming.rush.filter(|rush| rng.random::<f64>() < rush.share);
            let place: f64 = rng.random();
            let at_s = in_rush.map_or(place * coming.over_s, |rush| {
                rush.at_s + place * rush.within_s
            });
            let stay_s = exponential(&mut rng, coming.stay_s).max(coming.stay_least_s);
            Arrival {
                at_s,
                stay_s,
                seed: rng.random(),
            }
        })
        .collect();
    arrivals.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    arrivals
}

/// Pauses and seeks of a viewer, in order of time (seconds of the session).
pub(crate) fn acts(seed: u64, viewing: &Viewing, stay_s: f64) -> Vec<(f64, Act)> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut acts = Vec::new();
    let per_minute = viewing.pauses_per_minute + viewing.seeks_per_minute;
    let mut at = 0.0;
    while per_minute > 0.0 && acts.len() < ACTS {
        at += exponential(&mut rng, 60.0 / per_minute);
        if at >= stay_s {
            break;
        }
        if rng.random::<f64>() * per_minute < viewing.pauses_per_minute {
            acts.push((at, Act::Pause));
            at += exponential(&mut rng, viewing.pause_s);
            acts.push((at, Act::Resume));
        } else {
            acts.push((at, Act::Seek(-exponential(&mut rng, viewing.seek_back_s))));
        }
    }
    acts
}

/// What a chat user says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saying {
    Text,
    /// For one of a few options.
    Vote(u8),
    /// So many roses.
    Gift(u8),
}

/// What one chat user says and when, without end.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    rng: Pcg64Mcg,
    talking: Talking,
    /// Of the run, seconds.
    at_s: f64,
}

impl Talk {
    /// From a moment of the run on.
    pub(crate) fn new(seed: u64, talking: &Talking, from_s: f64) -> Self {
        Self {
            rng: Pcg64Mcg::seed_from_u64(seed),
            talking: talking.clone(),
            at_s: from_s,
        }
    }

    /// The next thing said, and when in the run; none where nothing ever is.
    pub(crate) fn next(&mut self) -> Option<(f64, Saying)> {
        let rate = self.talking.says_per_minute / 60.0;
        let most = rate * self.talking.burst.map_or(1.0, |burst| burst.times.max(1.0));
        if most <= 0.0 {
            return None;
        }
        // Thinning (Lewis and Shedler 1979): draw at the highest rate, keep what the moment's allows.
        for _ in 0..100_000 {
            self.at_s += exponential(&mut self.rng, 1.0 / most);
            let share = rate * factor(self.talking.burst, self.at_s) / most;
            if self.rng.random::<f64>() < share {
                return Some((self.at_s, self.saying()));
            }
        }
        None
    }

    fn saying(&mut self) -> Saying {
        let place: f64 = self.rng.random();
        if place < self.talking.votes {
            Saying::Vote(self.rng.random_range(0..4))
        } else if place < self.talking.votes + self.talking.gifts {
            Saying::Gift(self.rng.random_range(1..10))
        } else {
            Saying::Text
        }
    }
}

fn factor(burst: Option<Burst>, at_s: f64) -> f64 {
    match burst {
        Some(burst) if at_s % burst.every_s < burst.for_s => burst.times,
        _ => 1.0,
    }
}

fn exponential(rng: &mut Pcg64Mcg, mean: f64) -> f64 {
    // 1 - x lies in (0, 1], so the logarithm is finite.
    -mean * (1.0 - rng.random::<f64>()).ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMING: Coming = Coming {
        over_s: 60.0,
        rush: Some(Rush {
            share: 0.5,
            at_s: 10.0,
            within_s: 1.0,
        }),
        stay_s: 100.0,
        stay_least_s: 5.0,
    };

    fn talking() -> Talking {
        Talking {
            says_per_minute: 60.0,
            votes: 0.5,
            gifts: 0.25,
            burst: Some(Burst {
                every_s: 10.0,
                for_s: 1.0,
                times: 9.0,
            }),
            ..Talking::default()
        }
    }

    proptest! {
        #[test]
        fn the_same_seed_brings_the_same_crowd(seed in any::<u64>(), count in 0_usize..200) {
            let crowd = arrivals(seed, COMING, count);
            prop_assert_eq!(&crowd, &arrivals(seed, COMING, count));
            prop_assert_eq!(crowd.len(), count);
            prop_assert!(crowd.windows(2).all(|pair| pair[0].at_s <= pair[1].at_s));
            prop_assert!(crowd.iter().all(|arrival| (0.0..=60.0).contains(&arrival.at_s) && arrival.stay_s >= 5.0));
        }

        #[test]
        fn acts_are_in_order_and_pauses_end(seed in any::<u64>(), stay_s in 0.0..1000.0_f64) {
            let viewing = Viewing { pauses_per_minute: 2.0, seeks_per_minute: 1.0, ..Viewing::default() };
            let acts = acts(seed, &viewing, stay_s);
            prop_assert!(acts.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            let count = |wanted: Act| acts.iter().filter(|(_, act)| *act == wanted).count();
            prop_assert_eq!(count(Act::Pause), count(Act::Resume));
        }
    }

    #[test]
    fn a_rush_brings_its_share_at_once() {
        let crowd = arrivals(1, COMING, 2000);
        let within = crowd
            .iter()
            .filter(|arrival| (10.0..11.0).contains(&arrival.at_s))
            .count();
        assert!((950..1100).contains(&within), "{within}");
    }

    #[test]
    fn talk_keeps_its_rate_and_its_bursts() {
        let mut talk = Talk::new(3, &talking(), 0.0);
        let said: Vec<_> = std::iter::from_fn(|| talk.next())
            .take_while(|(at, _)| *at < 1000.0)
            .collect();
        // One a second for nine of ten seconds, nine in the tenth.
        assert!((1600..2000).contains(&said.len()), "{}", said.len());
        let in_bursts = said.iter().filter(|(at, _)| at % 10.0 < 1.0).count();
        assert!((0.42..0.58).contains(&(in_bursts as f64 / said.len() as f64)));
        let votes = said
            .iter()
            .filter(|(_, saying)| matches!(saying, Saying::Vote(_)))
            .count();
        assert!((0.4..0.6).contains(&(votes as f64 / said.len() as f64)));
    }

    /// The chat's buckets: one message a token, so many tokens a second, so many at most.
    fn refused(times: impl IntoIterator<Item = f64>, [per_s, burst]: [u32; 2]) -> usize {
        let (mut tokens, mut before, mut refused) = (f64::from(burst), 0.0, 0);
        for at in times {
            tokens = (tokens + (at - before) * f64::from(per_s)).min(f64::from(burst));
            before = at;
            if tokens < 1.0 {
                refused += 1;
            } else {
                tokens -= 1.0;
            }
        }
        refused
    }

    #[test]
    fn the_chats_default_limits_refuse_nobody_of_the_scenes() {
        const USERS: u64 = 500;
        let limits = crate::chat::Config::default();
        let user = [limits.connection_rate.per_s, limits.connection_rate.burst];
        let all = [limits.room_rate.per_s, limits.room_rate.burst];
        assert!(refused([0.0; 21], user) == 1);
        for name in ["idol", "flash-sale", "esports"] {
            let scene = super::super::scene::Scene::load(name).unwrap();
            let mut room = Vec::new();
            for seed in 0..USERS {
                let mut talk = Talk::new(seed, &scene.chatters, 0.0);
                let said = std::iter::from_fn(|| talk.next()).map(|(at, _)| at);
                let said: Vec<f64> = said.take_while(|at| *at < 300.0).collect();
                assert_eq!(refused(said.iter().copied(), user), 0, "{name}");
                room.extend(said);
            }
            room.sort_by(f64::total_cmp);
            assert_eq!(refused(room, all), 0, "{name}");
        }
    }

    #[test]
    fn a_silent_user_says_nothing() {
        let silent = Talking {
            says_per_minute: 0.0,
            ..talking()
        };
        assert_eq!(Talk::new(1, &silent, 0.0).next(), None);
    }
}
