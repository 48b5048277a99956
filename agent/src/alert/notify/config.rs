//! The receivers' sections: fields, defaults, and the checks that turn them into couriers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::courier::{Courier, Target};
use super::credential::Credential;
use super::{alertmanager, command, webhook};
use crate::alert::config::Alert;
use crate::alert::log::{Form, Log};
use crate::client::address::Address;
use crate::client::post::Poster;
use crate::client::tls::{self, Files};

/// Where Alertmanager takes alerts.
const ALERTS_PATH: &str = "/api/v2/alerts";

/// One or more Alertmanagers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alertmanager {
    /// What this receiver is called in metrics and messages. With its address the key under which
    /// the log keeps how far it is: a new name starts anew.
    pub name: String,
    /// `http(s)://host[:port][/prefix]` of each peer; the port defaults to 9093.
    pub urls: Vec<String>,
    /// Most pages in a request.
    #[schemars(range(min = 1, max = 1_024))]
    pub batch: u32,
    /// How requests are sent.
    #[serde(flatten)]
    pub http: Http,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// What this receiver is called in metrics, messages and the payload, and the key under which
    /// the log keeps how far it is: a new name starts anew.
    pub name: String,
    /// `http(s)://host[:port]/path`.
    pub url: String,
    /// Most pages in a request; all in one have the same `alertname`.
    #[schemars(range(min = 1, max = 1_024))]
    pub batch: u32,
    /// How requests are sent.
    #[serde(flatten)]
    pub http: Http,
}

/// A program on this node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Command {
    /// What this receiver is called in metrics, messages and the payload, and the key under which
    /// the log keeps how far it is: a new name starts anew.
    pub name: String,
    /// Program, by its whole path, and arguments. Exit code 0: done. 75, or ended by a signal: run
    /// again. Any other: given up and counted.
    pub command: Vec<String>,
    /// Most pages in a run; all in one have the same `alertname`.
    #[schemars(range(min = 1, max = 1_024))]
    pub batch: u32,
    /// Seconds after which it is ended with everything it started, to be run again.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_seconds: f64,
}

/// How requests are sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Http {
    /// Seconds a connection may take to be made, TLS included.
    #[schemars(range(min = 0.01, max = 3_600.0))]
    pub connect_timeout_seconds: f64,
    /// Seconds a request may take from its first byte to the end of the answer.
    #[schemars(range(min = 0.01, max = 3_600.0))]
    pub timeout_seconds: f64,
    /// User name for basic authentication. Empty: none.
    pub username: String,
    /// File with the password for basic authentication. Read again for each request.
    pub password_file: PathBuf,
    /// File with a bearer token. Read again for each request. Empty: none.
    pub bearer_token_file: PathBuf,
    /// File of headers to send, one `name: value` a line, `#` for comments. Read again for each
    /// request. Empty: none.
    pub headers_file: PathBuf,
    /// Headers whose values come from environment variables: header name = variable name.
    pub headers_env: BTreeMap<String, String>,
    /// PEM file of the authorities to trust. Empty: those of the system.
    pub ca_file: PathBuf,
    /// PEM file of the client's certificate chain, for receivers that ask for one. Empty: none.
    pub cert_file: PathBuf,
    /// PEM file of the client certificate's private key. Empty: none.
    pub key_file: PathBuf,
}

impl Default for Alertmanager {
    fn default() -> Self {
        Self {
            name: "alertmanager".to_owned(),
            urls: Vec::new(),
            batch: 64,
            http: Http::default(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            batch: 64,
            http: Http::default(),
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self {
            name: String::new(),
            command: Vec::new(),
            batch: 64,
            timeout_seconds: 30.0,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            connect_timeout_seconds: 5.0,
            timeout_seconds: 10.0,
            username: String::new(),
            password_file: PathBuf::new(),
            bearer_token_file: PathBuf::new(),
            headers_file: PathBuf::new(),
            headers_env: BTreeMap::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
        }
    }
}

impl Alert {
    /// Checks everything that can be checked without the receivers: addresses, files, environment.
    ///
    /// # Errors
    /// One line that begins with the key to change.
    pub fn check(&self) -> anyhow::Result<()> {
        let log = Log::in_memory(self.log_limits());
        couriers(self, &log).map(drop)
    }
}

/// A courier for each receiver.
pub(super) fn couriers(config: &Alert, log: &Log) -> anyhow::Result<Vec<Courier>> {
    let mut couriers = Vec::new();
    for (index, one) in config.alertmanager.iter().enumerate() {
        let section = format!("alert.alertmanager[{index}]");
        ensure!(
            !one.urls.is_empty(),
            "{section}.urls is empty: name each Alertmanager"
        );
        for url in &one.urls {
            couriers.push(one.courier(&section, url, config, log)?);
        }
    }
    for (index, one) in config.webhook.iter().enumerate() {
        let section = format!("alert.webhook[{index}]");
        couriers.push(one.courier(&section, config, log)?);
    }
    for (index, one) in config.command.iter().enumerate() {
        let section = format!("alert.command[{index}]");
        couriers.push(one.courier(&section, config, log)?);
    }
    let mut names = BTreeSet::new();
    for courier in &couriers {
        ensure!(
            names.insert(courier.name()),
            "alert: two receivers are called {}: give each a name of its own",
            courier.name()
        );
    }
    Ok(couriers)
}

impl Alertmanager {
    fn courier(
        &self,
        section: &str,
        url: &str,
        config: &Alert,
        log: &Log,
    ) -> anyhow::Result<Courier> {
        check_name(section, &self.name)?;
        let address = address(section, "urls", url, |_| 9093)?;
        let prefix = address.path.as_ref().map_or("", |path| path.path());
        let path = format!("{}{ALERTS_PATH}", prefix.trim_end_matches('/'));
        let name = format!("alertmanager/{}/{}", self.name, address.authority);
        let place = address.to_string();
        let target = Target::Alertmanager(alertmanager::Alertmanager {
            poster: self.http.poster(section, address, path)?,
            credential: Credential::new(section, &self.http)?,
        });
        let form = form(section, self.batch, false)?;
        let repeat = seconds(section, "repeat_seconds", config.repeat_seconds)?;
        Ok(Courier::new(
            name,
            &place,
            target,
            form,
            Some(repeat),
            log.clone(),
        ))
    }
}

impl Webhook {
    fn courier(&self, section: &str, config: &Alert, log: &Log) -> anyhow::Result<Courier> {
        check_name(section, &self.name)?;
        let default_port = |tls| if tls { 443 } else { 80 };
        let address = address(section, "url", &self.url, default_port)?;
        let path = address
            .path
            .as_ref()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let place = address.to_string();
        let target = Target::Webhook(webhook::Webhook {
            receiver: self.name.clone(),
            external_url: config.external_url.clone(),
            poster: self.http.poster(section, address, path)?,
            credential: Credential::new(section, &self.http)?,
        });
        let form = form(section, self.batch, true)?;
        let name = format!("webhook/{}", self.name);
        Ok(Courier::new(name, &place, target, form, None, log.clone()))
    }
}

impl Command {
    fn courier(&self, section: &str, config: &Alert, log: &Log) -> anyhow::Result<Courier> {
        check_name(section, &self.name)?;
        let (program, arguments) = self
            .command
            .split_first()
            .with_context(|| format!("{section}.command is empty: name a program"))?;
        ensure!(
            program.starts_with('/'),
            "{section}.command is {program}: give the program's whole path"
        );
        let target = Target::Command(command::Command {
            receiver: self.name.clone(),
            external_url: config.external_url.clone(),
            program: PathBuf::from(program),
            arguments: arguments.to_vec(),
            timeout: seconds(section, "timeout_seconds", self.timeout_seconds)?,
        });
        let form = form(section, self.batch, true)?;
        let name = format!("command/{}", self.name);
        Ok(Courier::new(name, program, target, form, None, log.clone()))
    }
}

impl Http {
    fn poster(&self, section: &str, address: Address, path: String) -> anyhow::Result<Poster> {
        let files = Files {
            section,
            ca_file: &self.ca_file,
            cert_file: &self.cert_file,
            key_file: &self.key_file,
        };
        let tls = address.tls.then(|| tls::client(files, b"http/1.1"));
        Ok(Poster::new(
            address,
            path,
            tls.transpose()?,
            seconds(
                section,
                "connect_timeout_seconds",
                self.connect_timeout_seconds,
            )?,
            seconds(section, "timeout_seconds", self.timeout_seconds)?,
        ))
    }
}

fn address(
    section: &str,
    key: &str,
    url: &str,
    default_port: impl FnOnce(bool) -> u16,
) -> anyhow::Result<Address> {
    let secrets = format!("{section}.headers_file, or username and password_file");
    Address::parse(url, &secrets, default_port).with_context(|| format!("{section}.{key}"))
}

/// A name is part of a metric's label and of a key on disk.
fn check_name(section: &str, name: &str) -> anyhow::Result<()> {
    let is_fit = !name.is_empty() && name.len() <= 64 && !name.contains(['/', '\n']);
    ensure!(
        is_fit,
        "{section}.name is {name:?}: give 1 to 64 characters without a slash"
    );
    Ok(())
}

fn form(section: &str, batch: u32, one_name: bool) -> anyhow::Result<Form> {
    ensure!(
        (1..=1_024).contains(&batch),
        "{section}.batch is {batch}: give a number from 1 to 1024"
    );
    let pages = batch as usize;
    Ok(Form { pages, one_name })
}

/// A duration within bounds that no timer overflows.
fn seconds(section: &str, field: &str, value: f64) -> anyhow::Result<Duration> {
    ensure!(
        (0.01..=3_600.0).contains(&value),
        "{section}.{field} is {value}: give a number of seconds from 0.01 to 3600"
    );
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let config: Alert = toml::from_str(text).unwrap();
        format!("{:#}", config.check().unwrap_err())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        for (text, words) in [
            ("[[alertmanager]]", "alert.alertmanager[0].urls is empty"),
            (
                "[[alertmanager]]\nurls = ['am:9093']",
                "alert.alertmanager[0].urls: am:9093",
            ),
            (
                "[[webhook]]\nname = 'a'\nurl = 'http://u:secretword@h/x'",
                "alert.webhook[0].url: credentials",
            ),
            (
                "[[webhook]]\nurl = 'http://h/x'",
                "alert.webhook[0].name is",
            ),
            (
                "[[command]]\nname = 'a'\ncommand = ['page.sh']",
                "alert.command[0].command is page.sh",
            ),
            (
                "[[command]]\nname = 'a'\ncommand = ['/p']\n[[command]]\nname = 'a'\ncommand = ['/p']",
                "two receivers are called command/a",
            ),
            (
                "[[webhook]]\nname = 'a'\nurl = 'http://h'\nbatch = 0",
                "alert.webhook[0].batch is 0",
            ),
            (
                "[[webhook]]\nname = 'a'\nurl = 'http://h'\ntimeout_seconds = nan",
                "alert.webhook[0].timeout_seconds is NaN",
            ),
        ] {
            let fault = fault(text);
            assert!(fault.contains(words), "{text}: {fault}");
            assert!(!fault.contains("secretword"), "{fault}");
        }
    }

    #[test]
    fn peers_are_receivers_of_their_own() {
        let text = "[[alertmanager]]\nurls = ['http://a', 'http://b:1/prefix/']";
        let config: Alert = toml::from_str(text).unwrap();
        let couriers = couriers(&config, &Log::in_memory(config.log_limits())).unwrap();
        let names: Vec<_> = couriers.iter().map(Courier::name).collect();
        assert_eq!(
            names,
            [
                "alertmanager/alertmanager/a:9093",
                "alertmanager/alertmanager/b:1"
            ]
        );
    }
}
