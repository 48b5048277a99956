//! `weir rules eval`: asks a running agent for the value of an expression, over the same HTTP API
//! that Grafana uses.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::answer::{Refusal, Told};
use super::{ConfigFile, EX_CONFIG, answer, load, print};
use crate::client::address::Address;
use crate::client::post::{Answer, Poster};
use crate::client::tls::{self, Files};
use crate::config::Prometheus;
use crate::secret;

/// As sysexits.h has them: nobody there, not what was expected, not allowed.
const EX_UNAVAILABLE: u8 = 69;
const EX_PROTOCOL: u8 = 76;
const EX_NOPERM: u8 = 77;

/// Most bytes of an answer; the agent's own bound.
const MAX_ANSWER: usize = 16 << 20;

/// What is asked, and whom.
#[derive(Debug, clap::Args)]
pub(super) struct Eval {
    /// Expression in PromQL.
    expression: String,
    /// When to evaluate: Unix seconds or RFC 3339. Without it now.
    #[arg(long, allow_negative_numbers = true)]
    time: Option<String>,
    /// Print the value as JSON, as the API gives it.
    #[arg(long)]
    json: bool,
    /// Where the agent is, such as `http://127.0.0.1:9470`; without it, address and credentials are
    /// those of the configuration.
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// File with a bearer token.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    bearer_token_file: Option<PathBuf>,
    /// User of basic authentication.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// PEM file of the authorities that sign the agent's certificate; without it the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Longest wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
}

/// Whom to ask, and what lets us in.
struct Agent {
    address: Address,
    headers: HeaderMap,
}

/// Why there is no value, for people and for scripts.
#[derive(Debug)]
struct Trouble {
    code: u8,
    text: String,
}

impl Trouble {
    fn new(code: u8, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

/// Asks and prints.
pub(super) fn run(eval: &Eval, file: &ConfigFile) -> ExitCode {
    match ask(eval, file) {
        Ok(told) => {
            for note in &told.notes {
                eprintln!("weir: {note}");
            }
            print(&told.text);
            ExitCode::SUCCESS
        }
        Err(Trouble { code, text }) => {
            if !text.is_empty() {
                eprintln!("weir: {text}");
            }
            ExitCode::from(code)
        }
    }
}

fn ask(eval: &Eval, file: &ConfigFile) -> Result<Told, Trouble> {
    let agent = match &eval.url {
        Some(url) => Agent::at(url, eval),
        None => {
            // `load` says itself what is wrong.
            let config = load(file).ok_or_else(|| Trouble::new(EX_CONFIG, ""))?;
            Agent::of(&config.prometheus, eval)
        }
    };
    let agent = agent.map_err(|why| Trouble::new(EX_CONFIG, format!("{why:#}")))?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", &eval.expression);
    if let Some(time) = &eval.time {
        form.append_pair("time", time);
    }
    let got = agent.post(form.finish().into(), eval)?;
    read(&got, &agent, eval)
}

impl Agent {
    /// The one that a user names.
    fn at(url: &str, eval: &Eval) -> Result<Self> {
        let address = Address::parse(url, "--bearer-token-file or --password-file", |tls| {
            if tls { 443 } else { 80 }
        });
        Ok(Self {
            address: address.context("--url")?,
            headers: credentials(eval)?,
        })
    }

    /// The one that runs with this configuration.
    fn of(config: &Prometheus, eval: &Eval) -> Result<Self> {
        let listen = config.listen;
        ensure!(
            listen.port() != 0,
            "[prometheus] listen lets the system choose the port: name the agent with --url"
        );
        let tls = !config.cert_file.as_os_str().is_empty();
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", reachable(listen));
        let mut headers = credentials(eval)?;
        if headers.is_empty() && !config.bearer_token_file.as_os_str().is_empty() {
            headers = bearer(&config.bearer_token_file)?;
        } else if headers.is_empty() && !config.username.is_empty() {
            headers = basic(&config.username, &config.password_file)?;
        }
        Ok(Self {
            address: Address::parse(&url, "", |_| listen.port())?,
            headers,
        })
    }

    fn post(&self, form: Bytes, eval: &Eval) -> Result<Answer, Trouble> {
        let tls = self.address.tls.then(|| {
            tls::client(
                Files {
                    section: "--ca-file",
                    ca_file: eval.ca_file.as_deref().unwrap_or(Path::new("")),
                    cert_file: Path::new(""),
                    key_file: Path::new(""),
                },
                b"http/1.1",
            )
        });
        let tls = tls.transpose();
        let tls = tls.map_err(|why| Trouble::new(EX_CONFIG, format!("{why:#}")))?;
        let wait = Duration::from_secs(eval.timeout);
        let base = self.address.path.as_ref().map_or("", |path| path.path());
        let path = format!("{}/api/v1/query", base.trim_end_matches('/'));
        let mut poster =
            Poster::new(self.address.clone(), path, tls, wait, wait).asking(MAX_ANSWER);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| Trouble::new(1, format!("cannot start: {why}")))?;
        let answer = runtime.block_on(poster.post(&self.headers, form));
        answer.map_err(|why| {
            let address = &self.address;
            let way_out = "start it with `weir run`, or say where it is with --url or --config";
            let text = format!("no agent answers at {address}: {why}; {way_out}");
            Trouble::new(EX_UNAVAILABLE, text)
        })
    }
}

/// Makes text of what came back.
fn read(got: &Answer, agent: &Agent, eval: &Eval) -> Result<Told, Trouble> {
    let address = &agent.address;
    match got.status.as_u16() {
        401 | 403 => {
            let text = format!(
                "{address} wants other credentials ({}): give --bearer-token-file, or --username and --password-file",
                got.status
            );
            return Err(Trouble::new(EX_NOPERM, text));
        }
        404 | 405 => {
            let text = format!(
                "{address} has no query API ({}): the agent is older than its rules, or evaluates none: set [alert] rule_files",
                got.status
            );
            return Err(Trouble::new(EX_PROTOCOL, text));
        }
        _ => {}
    }
    let told = match answer::read(&got.body, eval.json) {
        Ok(told) => told,
        Err(Refusal::Said(why)) => {
            return Err(Trouble::new(1, answer::point_at(&eval.expression, &why)));
        }
        Err(Refusal::Unknown) => {
            let text = format!(
                "what answers at {address} is no agent: {} and not an answer of Prometheus's API",
                got.status
            );
            return Err(Trouble::new(EX_PROTOCOL, text));
        }
    };
    Ok(told.noting_absence(eval.time.is_some()))
}

/// What the command line gives; nothing if it gives none.
fn credentials(eval: &Eval) -> Result<HeaderMap> {
    if let Some(file) = &eval.bearer_token_file {
        return bearer(file);
    }
    match (&eval.username, &eval.password_file) {
        (Some(user), Some(file)) => basic(user, file),
        _ => Ok(HeaderMap::new()),
    }
}

fn bearer(file: &Path) -> Result<HeaderMap> {
    authorization(&format!("Bearer {}", secret::read(file)?))
}

fn basic(user: &str, file: &Path) -> Result<HeaderMap> {
    let pair = STANDARD.encode(format!("{user}:{}", secret::read(file)?));
    authorization(&format!("Basic {pair}"))
}

fn authorization(text: &str) -> Result<HeaderMap> {
    // The error of a bad value would show the value.
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| anyhow!("the secret has a character that no HTTP header may have"))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

/// Where a server that listens on all addresses is reached from its own host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
