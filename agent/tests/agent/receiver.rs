//! An OTLP receiver over HTTP/1.1 that answers as it is told, and can come late.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[derive(Default)]
struct State {
    answers: VecDeque<&'static str>,
    requests: Vec<ExportMetricsServiceRequest>,
}

/// Answers as told, and then accepts everything. Ends with the process.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub(crate) fn start(answers: Vec<&'static str>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answers)
    }

    pub(crate) fn start_at(address: SocketAddr, answers: Vec<&'static str>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            answers: answers.into(),
            ..State::default()
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { address, state }
    }

    /// Number of requests so far, whatever the answer.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// Whether it has said all it was told to.
    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().unwrap().answers.is_empty()
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<ExportMetricsServiceRequest> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// Returns at the end of the connection.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
        let answer = {
            let mut state = state.lock().unwrap();
            state.requests.push(request);
            state.answers.pop_front().unwrap_or(OK)
        };
        writer.write_all(answer.as_bytes()).ok()?;
    }
}
