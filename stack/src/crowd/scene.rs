//! Scenes: how a crowd arrives and behaves. Data in TOML; three come with the program.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::arrival::Coming;

/// Scenes by name.
const KNOWN: [(&str, &str); 3] = [
    ("idol", include_str!("../../scenes/idol.toml")),
    ("flash-sale", include_str!("../../scenes/flash-sale.toml")),
    ("esports", include_str!("../../scenes/esports.toml")),
];

/// One scene.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scene {
    pub(crate) players: Viewing,
    pub(crate) chatters: Talking,
    pub(crate) gamers: Gaming,
}

/// How users of one sort come and go.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Viewing {
    /// Users come at random moments of this time from the start, seconds.
    pub(crate) arrive_over_s: f64,
    /// Some of them come at once.
    pub(crate) rush: Option<Rush>,
    /// Mean of the time they stay, seconds; exponentially spread.
    pub(crate) stay_s: f64,
    /// They stay at least this long, seconds.
    pub(crate) stay_least_s: f64,
    pub(crate) pauses_per_minute: f64,
    /// Mean length of a pause, seconds.
    pub(crate) pause_s: f64,
    pub(crate) seeks_per_minute: f64,
    /// Mean jump back, seconds.
    pub(crate) seek_back_s: f64,
}

/// Many users at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rush {
    /// Of all users, 0 to 1.
    pub(crate) share: f64,
    /// From the start, seconds.
    pub(crate) at_s: f64,
    /// All within this time, seconds.
    pub(crate) within_s: f64,
}

/// Chat users.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Talking {
    pub(crate) arrive_over_s: f64,
    pub(crate) rush: Option<Rush>,
    pub(crate) stay_s: f64,
    pub(crate) stay_least_s: f64,
    /// Where the chat address names no room.
    pub(crate) room: String,
    pub(crate) says_per_minute: f64,
    /// Share of what is said that are votes.
    pub(crate) votes: f64,
    /// Share of what is said that are gifts.
    pub(crate) gifts: f64,
    pub(crate) text_bytes: usize,
    /// Everybody talks more at the same times.
    pub(crate) burst: Option<Burst>,
}

/// Regular times of more talk.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Burst {
    pub(crate) every_s: f64,
    pub(crate) for_s: f64,
    /// By how much more is said.
    pub(crate) times: f64,
}

/// Gamers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Gaming {
    pub(crate) arrive_over_s: f64,
    pub(crate) rush: Option<Rush>,
    pub(crate) stay_s: f64,
    pub(crate) stay_least_s: f64,
    /// Between a match and the next ticket, seconds.
    pub(crate) rest_s: f64,
    pub(crate) inputs_per_second: f64,
    pub(crate) mode: String,
    pub(crate) region: String,
}

impl Default for Viewing {
    fn default() -> Self {
        Self {
            arrive_over_s: 5.0,
            rush: None,
            stay_s: 600.0,
            stay_least_s: 15.0,
            pauses_per_minute: 0.0,
            pause_s: 8.0,
            seeks_per_minute: 0.0,
            seek_back_s: 6.0,
        }
    }
}

impl Default for Talking {
    fn default() -> Self {
        Self {
            arrive_over_s: 5.0,
            rush: None,
            stay_s: 600.0,
            stay_least_s: 5.0,
            room: "main".to_owned(),
            says_per_minute: 4.0,
            votes: 0.0,
            gifts: 0.0,
            text_bytes: 40,
            burst: None,
        }
    }
}

impl Default for Gaming {
    fn default() -> Self {
        Self {
            arrive_over_s: 5.0,
            rush: None,
            stay_s: 600.0,
            stay_least_s: 15.0,
            rest_s: 2.0,
            inputs_per_second: 20.0,
            mode: "duel".to_owned(),
            region: "eu".to_owned(),
        }
    }
}

impl Scene {
    /// A scene by name, or from a file whose name ends in `.toml`. The error names what is wrong.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let (text, place) = match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => ((*text).to_owned(), format!("the scene {name}")),
            None if name.ends_with(".toml") => {
                let text = std::fs::read_to_string(Path::new(name))
                    .with_context(|| format!("cannot read the scene {name}"))?;
                (text, format!("the scene {name}"))
            }
            None => bail!(
                "no scene is called {name}; there are {} and files ending in .toml",
                names()
            ),
        };
        let scene: Self = toml::from_str(&text).with_context(|| format!("in {place}"))?;
        scene.check().with_context(|| format!("in {place}"))?;
        Ok(scene)
    }

    /// How players, chat users and gamers come and go, in this order. Their fields are the same but
    /// stand in each sort: serde refuses unknown keys only in structs without flattened parts.
    pub(crate) fn comings(&self) -> [Coming; 3] {
        macro_rules! coming {
            ($($users:ident)+) => {
                [$(Coming {
                    over_s: self.$users.arrive_over_s,
                    rush: self.$users.rush,
                    stay_s: self.$users.stay_s,
                    stay_least_s: self.$users.stay_least_s,
                }),+]
            };
        }
        coming!(players chatters gamers)
    }

    fn check(&self) -> Result<()> {
        let (players, chatters, gamers) = (&self.players, &self.chatters, &self.gamers);
        for coming in self.comings() {
            check_all([
                ("arrive_over_s", coming.over_s),
                ("stay_s", coming.stay_s),
                ("stay_least_s", coming.stay_least_s),
            ])?;
            if let Some(rush) = coming.rush
                && (!(0.0..=1.0).contains(&rush.share) || rush.at_s < 0.0 || rush.within_s < 0.0)
            {
                bail!(
                    "rush: share must lie between 0 and 1, at_s and within_s must not be negative"
                );
            }
        }
        check_all([
            ("pauses_per_minute", players.pauses_per_minute),
            ("pause_s", players.pause_s),
            ("seeks_per_minute", players.seeks_per_minute),
            ("seek_back_s", players.seek_back_s),
            ("says_per_minute", chatters.says_per_minute),
            ("rest_s", gamers.rest_s),
        ])?;
        if !(0.1..=1000.0).contains(&gamers.inputs_per_second) {
            bail!("inputs_per_second must lie between 0.1 and 1000");
        }
        if !(1..=4096).contains(&chatters.text_bytes) {
            bail!("text_bytes must lie between 1 and 4096");
        }
        if let Some(burst) = chatters.burst
            && !(burst.every_s > 0.0 && burst.for_s >= 0.0 && burst.times >= 0.0)
        {
            bail!("burst: every_s must be positive, for_s and times must not be negative");
        }
        Ok(())
    }
}

/// Refuses what is neither a time nor a rate.
fn check_all<const N: usize>(values: [(&str, f64); N]) -> Result<()> {
    for (key, value) in values {
        if !(0.0..=1e6).contains(&value) {
            bail!("{key} must lie between 0 and 1000000");
        }
    }
    Ok(())
}

/// The known names, for messages.
fn names() -> String {
    KNOWN.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_that_comes_with_the_program_loads() {
        for (name, _) in KNOWN {
            Scene::load(name).unwrap();
        }
    }

    #[test]
    fn errors_name_scene_and_key() {
        let error = format!("{:#}", Scene::load("carnival").unwrap_err());
        assert!(
            error.contains("carnival") && error.contains("esports"),
            "{error}"
        );
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), "[players]\nstay_s = -1.0\n").unwrap();
        let error = format!(
            "{:#}",
            Scene::load(file.path().to_str().unwrap()).unwrap_err()
        );
        assert!(error.contains("stay_s"), "{error}");
        std::fs::write(file.path(), "[players]\nstays = 1.0\n").unwrap();
        let error = format!(
            "{:#}",
            Scene::load(file.path().to_str().unwrap()).unwrap_err()
        );
        assert!(
            error.contains("stays") && error.contains("line 2"),
            "{error}"
        );
    }
}
