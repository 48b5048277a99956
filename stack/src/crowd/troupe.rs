//! Sends every user in when the time has come.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use url::Url;

use super::arrival::{Arrival, Coming, Talk, acts, arrivals};
use super::chatter;
use super::control::Member;
use super::net::Gate;
use super::playback::Settings;
use super::scene::Scene;
use super::session::{Session, Shared};
use super::viewer;
use super::Args;
use crate::truth::Role;

/// All users of a run.
pub(crate) struct Troupe<'a> {
    pub(crate) scene: Scene,
    pub(crate) args: &'a Args,
    pub(crate) shared: Shared,
    pub(crate) comers: mpsc::Sender<Member>,
}

/// One user who will come.
struct User {
    arrival: Arrival,
    role: Role,
    name: Arc<str>,
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
            self.send_in(&mut sessions, &user, began.elapsed().as_secs_f64()).await;
            // Who has left is let go of, so that long runs hold no more than who is there.
            while sessions.try_join_next().is_some() {}
        }
        while sessions.join_next().await.is_some() {}
    }

    /// Everybody in order of coming; each sort from its own part of the seed.
    fn users(&self) -> Vec<User> {
        let Scene { players, chatters, gamers } = &self.scene;
        let coming = [
            (Role::Player, "p", self.args.players, Coming { over_s: players.arrive_over_s, rush: players.rush, stay_s: players.stay_s, stay_least_s: players.stay_least_s }),
            (Role::Chatter, "c", self.args.chatters, Coming { over_s: chatters.arrive_over_s, rush: chatters.rush, stay_s: chatters.stay_s, stay_least_s: chatters.stay_least_s }),
            (Role::Gamer, "g", self.args.gamers, Coming { over_s: gamers.arrive_over_s, rush: gamers.rush, stay_s: gamers.stay_s, stay_least_s: gamers.stay_least_s }),
        ];
        let mut users = Vec::new();
        for (place, (role, letter, count, coming)) in coming.into_iter().enumerate() {
            let seed = self.args.seed.wrapping_mul(3).wrapping_add(place as u64);
            let come = arrivals(seed, coming, count).into_iter().enumerate();
            users.extend(come.map(|(number, arrival)| User { arrival, role, name: format!("{letter}-{}-{number:05}", self.args.seed).into() }));
        }
        users.sort_by(|a, b| a.arrival.at_s.total_cmp(&b.arrival.at_s));
        users
    }

    async fn send_in(&self, sessions: &mut JoinSet<()>, user: &User, now_s: f64) {
        let late_s = now_s - user.arrival.at_s;
        match user.role {
            Role::Player => {
                let Some(url) = self.args.stream.clone() else { return };
                let plan = viewer::Plan {
                    acts: acts(user.arrival.seed, &self.scene.players, user.arrival.stay_s),
                    leave_at: user.arrival.stay_s,
                    settings: Settings::default(),
                    url: url.clone(),
                };
                self.begin(sessions, user, &url, late_s, |session, gate| viewer::watch(session, gate, plan)).await;
            }
            Role::Chatter => {
                let Some(url) = self.args.chat.as_ref().map(|url| room(url, &self.scene.chatters.room, &user.name)) else { return };
                let plan = chatter::Plan {
                    url: url.clone(),
                    talk: Talk::new(user.arrival.seed, &self.scene.chatters, now_s),
                    begin_s: now_s,
                    leave_at: user.arrival.stay_s,
                    text_bytes: self.scene.chatters.text_bytes,
                };
                self.begin(sessions, user, &url, late_s, |session, gate| chatter::talk(session, gate, plan)).await;
            }
            Role::Gamer => {}
        }
    }

    async fn begin<F>(&self, sessions: &mut JoinSet<()>, user: &User, url: &Url, late_s: f64, act: impl FnOnce(Session, Gate) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (valve, gate) = watch::channel(true);
        let session = self.shared.open(&user.name, user.role, "crowd", url.as_str(), late_s);
        // Orders are rare; should their queue be gone, the session just cannot be ordered about.
        let _told = self.comers.send(Member { session: session.clone(), valve }).await;
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
