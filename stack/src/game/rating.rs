//! Ratings of players by Glicko-2 (Glickman, "Example of the Glicko-2 system", 2022), and where
//! they are kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use futures_util::future::BoxFuture;
use skillratings::Outcomes;
use skillratings::glicko2::{Glicko2Config, Glicko2Rating, glicko2_rating_period};

/// What is known of a player.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// The initial one before the first match.
    pub(crate) rating: Glicko2Rating,
    /// Matches rated.
    pub(crate) matches: u64,
}

/// A player's place at the end of a match: 1 is best, equal places are a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placing {
    /// Whose.
    pub(crate) player: String,
    /// From 1.
    pub(crate) place: u32,
    /// As the game counts.
    pub(crate) score: i32,
}

/// Where ratings are kept.
pub(crate) trait Ratings: Send + Sync {
    /// Of a player; the initial one of players never seen.
    fn get<'a>(&'a self, player: &'a str) -> BoxFuture<'a, Result<Record>>;
    /// Rates one match, as a whole or not at all. Returns how many players' new ratings were not
    /// kept for lack of room.
    fn update<'a>(&'a self, placings: &'a [Placing]) -> BoxFuture<'a, Result<usize>>;
}

/// Ratings in memory, gone at the end of the process.
pub(crate) struct Memory {
    records: Mutex<HashMap<String, Record>>,
    max: usize,
    tau: f64,
}

impl Memory {
    /// For up to `max` players.
    pub(crate) fn new(max: usize, tau: f64) -> Self {
        Self {
            records: Mutex::default(),
            max,
            tau,
        }
    }

    fn update_now(&self, placings: &[Placing]) -> usize {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<(Record, u32)> = placings
            .iter()
            .map(|placing| {
                (
                    records.get(&placing.player).copied().unwrap_or_default(),
                    placing.place,
                )
            })
            .collect();
        let mut refused = 0;
        for (placing, after) in placings.iter().zip(rate(&before, self.tau)) {
            if let Some(record) = records.get_mut(&placing.player) {
                *record = after;
            } else if records.len() < self.max {
                records.insert(placing.player.clone(), after);
            } else {
                refused += 1;
            }
        }
        refused
    }
}

impl Ratings for Memory {
    fn get<'a>(&'a self, player: &'a str) -> BoxFuture<'a, Result<Record>> {
        let record = self
            .records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(player)
            .copied();
        Box::pin(std::future::ready(Ok(record.unwrap_or_default())))
    }

    fn update<'a>(&'a self, placings: &'a [Placing]) -> BoxFuture<'a, Result<usize>> {
        Box::pin(std::future::ready(Ok(self.update_now(placings))))
    }
}

/// Records after a match between all of them; each pair is one game of the rating period.
pub(crate) fn rate(before: &[(Record, u32)], tau: f64) -> Vec<Record> {
    let config = Glicko2Config {
        tau,
        ..Glicko2Config::new()
    };
    let rated = before.iter().enumerate().map(|(index, (record, place))| {
        let others = before
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let results: Vec<(Glicko2Rating, Outcomes)> = others
            .map(|(_, (other, other_place))| {
                let outcome = match place.cmp(other_place) {
                    std::cmp::Ordering::Less => Outcomes::WIN,
                    std::cmp::Ordering::Equal => Outcomes::DRAW,
                    std::cmp::Ordering::Greater => Outcomes::LOSS,
                };
                (other.rating, outcome)
            })
            .collect();
        Record {
            rating: glicko2_rating_period(&record.rating, &results, &config),
            matches: record.matches + 1,
        }
    });
    rated.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placing(player: &str, place: u32) -> Placing {
        Placing {
            player: player.to_owned(),
            place,
            score: 0,
        }
    }

    /// The worked example of Glickman's paper: 1500/200 beats 1400/30 and loses to 1550/100 and
    /// 1700/300, which gives 1464.06 and 151.52.
    #[test]
    fn ratings_agree_with_the_worked_example() {
        let record = |rating, deviation| Record {
            rating: Glicko2Rating {
                rating,
                deviation,
                volatility: 0.06,
            },
            matches: 0,
        };
        let before = [
            (record(1_500.0, 200.0), 2),
            (record(1_400.0, 30.0), 3),
            (record(1_550.0, 100.0), 1),
            (record(1_700.0, 300.0), 1),
        ];
        let after = rate(&before, 0.5)[0];
        assert!((after.rating.rating - 1_464.06).abs() < 0.01, "{after:?}");
        assert!((after.rating.deviation - 151.52).abs() < 0.01, "{after:?}");
        assert_eq!(after.matches, 1);
    }

    #[tokio::test]
    async fn winners_rise_and_losers_fall() {
        let ratings = Memory::new(10, 0.5);
        ratings
            .update(&[placing("ann", 1), placing("bob", 2)])
            .await
            .unwrap();
        let (ann, bob) = (
            ratings.get("ann").await.unwrap(),
            ratings.get("bob").await.unwrap(),
        );
        assert!(ann.rating.rating > 1_500.0 && bob.rating.rating < 1_500.0);
        assert_eq!(ratings.get("eve").await.unwrap(), Record::default());
    }

    #[tokio::test]
    async fn a_full_store_counts_what_it_does_not_keep() {
        let ratings = Memory::new(1, 0.5);
        assert_eq!(
            ratings
                .update(&[placing("ann", 1), placing("bob", 2)])
                .await
                .unwrap(),
            1
        );
        assert_eq!(ratings.get("bob").await.unwrap(), Record::default());
    }
}
