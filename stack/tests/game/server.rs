//! Starts `weir-stack game` on free ports and asks it things.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::proto::matchmaker_client::MatchmakerClient;
use crate::proto::watch_assignments_response::Update;
use crate::proto::{
    ActivateTicketsRequest, Assignment, CreateTicketRequest, SearchFields, WatchAssignmentsRequest,
    WatchAssignmentsResponse,
};

/// For anything that should happen soon; far above what it takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) client: MatchmakerClient<Channel>,
    http: String,
}

impl Server {
    /// With one arena process and `config` appended to its section.
    pub(crate) async fn start(config: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "[game]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ncycle_ms = 50\n\
             [game.arenas]\nprocesses = 1\nprocesses_max = 1\n{config}"
        )
        .unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .arg("--config")
            .arg(file.path())
            .arg("game")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = time::timeout(SOON, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], "game");
        let address = |name: &str| format!("http://{}", ready["addresses"][name].as_str().unwrap());
        let client = MatchmakerClient::connect(address("grpc")).await.unwrap();
        Self {
            child,
            client,
            http: address("http"),
        }
    }

    /// An active ticket for a duel.
    pub(crate) async fn ticket(&mut self, player: &str) -> String {
        let fields = SearchFields {
            string_args: [("mode".to_owned(), "duel".to_owned())].into(),
            ..SearchFields::default()
        };
        let request = CreateTicketRequest {
            player_id: player.to_owned(),
            search_fields: Some(fields),
            ..Default::default()
        };
        let id = self
            .client
            .create_ticket(request)
            .await
            .unwrap()
            .into_inner()
            .ticket_id;
        let request = ActivateTicketsRequest {
            ticket_ids: vec![id.clone()],
        };
        let failed = self
            .client
            .activate_tickets(request)
            .await
            .unwrap()
            .into_inner()
            .failed;
        assert_eq!(failed, []);
        id
    }

    pub(crate) async fn watch(&mut self, ticket: &str) -> Watch {
        let request = WatchAssignmentsRequest {
            ticket_ids: vec![ticket.to_owned()],
            until_match_ends: true,
        };
        Watch(
            self.client
                .watch_assignments(request)
                .await
                .unwrap()
                .into_inner(),
        )
    }

    /// Two players in a match, each with its watch.
    pub(crate) async fn pair(&mut self) -> [(Watch, Assignment); 2] {
        let (ann, bob) = (self.ticket("ann").await, self.ticket("bob").await);
        let (mut ann, mut bob) = (self.watch(&ann).await, self.watch(&bob).await);
        let assignments = [ann.assigned().await, bob.assigned().await];
        let [first, second] = assignments;
        [(ann, first), (bob, second)]
    }

    pub(crate) async fn arenas(&self) -> Vec<Value> {
        serde_json::from_str(&get(&format!("{}/arenas", self.http)).await).unwrap()
    }

    /// Process of the first arena.
    pub(crate) async fn arena_pid(&self) -> Pid {
        Pid::from_raw(self.arenas().await[0]["pid"].as_i64().unwrap() as i32).unwrap()
    }

    /// A metric of `game`, with its labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        value(&get(&format!("{}/metrics", self.http)).await, name)
    }

    /// A metric of the first arena.
    pub(crate) async fn arena_metric(&self, name: &str) -> Option<f64> {
        let http = self.arenas().await[0]["http"].as_str().unwrap().to_owned();
        value(&get(&format!("{http}/metrics")).await, name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(
            Pid::from_raw(self.child.id().unwrap() as i32).unwrap(),
            signal,
        )
        .unwrap();
    }
}

/// A stream of updates on one ticket.
pub(crate) struct Watch(Streaming<WatchAssignmentsResponse>);

impl Watch {
    /// The next update; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Update> {
        let update = time::timeout(SOON, self.0.message())
            .await
            .expect("no update in time");
        update.unwrap().map(|update| update.update.unwrap())
    }

    pub(crate) async fn assigned(&mut self) -> Assignment {
        match self.next().await {
            Some(Update::Assigned(assignment)) => assignment,
            other => panic!("want an assignment, got {other:?}"),
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = time::Instant::now() + SOON;
    while !condition().await {
        assert!(time::Instant::now() < deadline, "not in time: {what}");
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process is gone (or a zombie that its parent did not reap yet).
pub(crate) fn is_gone(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    status.map_or(true, |status| {
        status
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

async fn get(uri: &str) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let body = client.get(uri.parse().unwrap()).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn value(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
