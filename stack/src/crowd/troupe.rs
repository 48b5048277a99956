//! Sends every user in when the time has come.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use url::Url;

use super::Args;
use super::arrival::{Arrival, Talk, acts, arrivals};
use super::browser::{self, Browser};
use super::chatter;
use super::control::Member;
use super::gamer;
use super::net::Gate;
use super::playback::Settings;
use super::scene::Scene;
use super::session::{Session, Shared};
use super::viewer;
use crate::truth::Role;

/// All users of a run.
pub(crate) struct Troupe<'a> {
    pub(crate) scene: Scene,
    pub(crate) args: &'a Args,
    pub(crate) shared: Shared,
    pub(crate) comers: mpsc::Sender<Member>,
    /// With the configuration of its players.
    pub(crate) browser: Option<(Arc<Browser>, serde_json::Value)>,
}

/// One user who will come.
struct User {
    arrival: Arrival,
    sort: Sort,
    name: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Model,
    Chromium,
    Chatter,
    Gamer,
}

impl Troupe<'_> {
    /// Sends in everybody and waits until all are gone.
    pub(crate) async fn perform(&self) {
        let began = Instant::now();
        let mut sessions = JoinSet::new();
        for user in self.users() {
            let at = began + Duration::from_secs_f64(user.arrival.at_s);
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = self.shared.stop.cancelled() => break,
            }
            self.send_in(&mut sessions, &user, began.elapsed().as_secs_f64())
                .await;
            // Who has left is let go of, so that long runs hold no more than who is there.
            while sessions.try_join_next().is_some() {}
        }
        while sessions.join_next().await.is_some() {}
    }

    /// Everybody in order of coming; each sort from its own part of the seed.
    fn users(&self) -> Vec<User> {
        let [watching, talking, gaming] = self.scene.comings();
        let sorts = [
            (Sort::Model, "p", self.args.players, watching),
            (Sort::Chatter, "c", self.args.chatters, talking),
            (Sort::Gamer, "g", self.args.gamers, gaming),
            (Sort::Chromium, "b", self.args.browser, watching),
        ];
        let mut users = Vec::new();
        for (place, (sort, letter, count, coming)) in (0_u64..).zip(sorts) {
            let seed = self.args.seed.wrapping_mul(4).wrapping_add(place);
            let come = arrivals(seed, coming, count).into_iter().enumerate();
            users.extend(come.map(|(number, arrival)| User {
                arrival,
                sort,
                name: format!("{letter}-{}-{number:05}", self.args.seed).into(),
            }));
        }
        users.sort_by(|a, b| a.arrival.at_s.total_cmp(&b.arrival.at_s));
        users
    }

    async fn send_in(&self, sessions: &mut JoinSet<()>, user: &User, now_s: f64) {
        let late_s = now_s - user.arrival.at_s;
        let User {
            arrival: Arrival { seed, stay_s, .. },
            ..
        } = *user;
        match user.sort {
            Sort::Model => {
                let Some(url) = self.args.stream.clone() else {
                    return;
                };
                let acts = acts(seed, &self.scene.players, stay_s);
                let plan = viewer::Plan {
                    acts,
                    leave_at: stay_s,
                    settings: Settings::default(),
                    url: url.clone(),
                };
                self.begin(sessions, user, &url, late_s, |session, gate| {
                    viewer::watch(session, gate, plan)
                })
                .await;
            }
            Sort::Chromium => {
                let (Some(url), Some((browser, config))) =
                    (self.args.stream.clone(), self.browser.clone())
                else {
                    return;
                };
                let acts = acts(seed, &self.scene.players, stay_s);
                let plan = browser::Plan {
                    acts,
                    leave_at: stay_s,
                    config,
                    url,
                };
                self.begin_page(sessions, user, browser, plan);
            }
            Sort::Chatter => {
                let Some(url) = self
                    .args
                    .chat
                    .as_ref()
                    .map(|url| room(url, &self.scene.chatters.room, &user.name))
                else {
                    return;
                };
                let plan = chatter::Plan {
                    url: url.clone(),
                    talk: Talk::new(seed, &self.scene.chatters, now_s),
                    begin_s: now_s,
                    leave_at: stay_s,
                    text_bytes: self.scene.chatters.text_bytes,
                };
                self.begin(sessions, user, &url, late_s, |session, gate| {
                    chatter::talk(session, gate, plan)
                })
                .await;
            }
            Sort::Gamer => {
                let Some(url) = self.args.game.clone() else {
                    return;
                };
                let plan = gamer::Plan {
                    url: url.clone(),
                    gaming: self.scene.gamers.clone(),
                    seed,
                    leave_at: stay_s,
                };
                self.begin(sessions, user, &url, late_s, |session, gate| {
                    gamer::play(session, gate, plan)
                })
                .await;
            }
        }
    }

    /// A browser's page takes a while to make: the session begins when it is there.
    fn begin_page(
        &self,
        sessions: &mut JoinSet<()>,
        user: &User,
        browser: Arc<Browser>,
        plan: browser::Plan,
    ) {
        let (shared, name, asked) = (self.shared.clone(), Arc::clone(&user.name), Instant::now());
        sessions.spawn(async move {
            match browser.open_page().await {
                Ok(page) => {
                    let session = shared.open(
                        &name,
                        Role::Player,
                        "chromium",
                        plan.url.as_str(),
                        asked.elapsed().as_secs_f64(),
                    );
                    browser.watch(page, &session, &plan).await;
                }
                Err(error) => tracing::warn!(session = %name, "no page for a player: {error:#}"),
            }
        });
    }

    async fn begin<F>(
        &self,
        sessions: &mut JoinSet<()>,
        user: &User,
        url: &Url,
        late_s: f64,
        act: impl FnOnce(Session, Gate) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (valve, gate) = watch::channel(true);
        let role = match user.sort {
            Sort::Model | Sort::Chromium => Role::Player,
            Sort::Chatter => Role::Chatter,
            Sort::Gamer => Role::Gamer,
        };
        let session = self
            .shared
            .open(&user.name, role, "crowd", url.as_str(), late_s);
        // Orders are rare; should their queue be gone, the session just cannot be ordered about.
        let _told = self
            .comers
            .send(Member {
                session: session.clone(),
                valve,
            })
            .await;
        sessions.spawn(act(session, gate));
    }
}

/// The address of a room, with the user's name.
fn room(url: &Url, room: &str, name: &str) -> Url {
    let mut url = url.clone();
    if !url.path().contains("/rooms/") {
        url.set_path(&format!("/rooms/{room}/ws"));
    }
    url.query_pairs_mut().append_pair("user", name);
    url
}
