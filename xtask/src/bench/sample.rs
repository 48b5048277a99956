//! Reads what the agent answers to a scrape.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);

/// Samples of one scrape.
#[derive(Debug)]
pub(crate) struct Samples {
    text: String,
}

impl Samples {
    /// Scrapes the agent that listens on a port of this host.
    pub(crate) fn scrape(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: the answer ends with the connection and is not chunked.
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a body")?;
        if !head.lines().next().unwrap_or("").contains(" 200 ") {
            bail!("the agent answered {}", head.lines().next().unwrap_or(""));
        }
        Ok(Self {
            text: body.to_owned(),
        })
    }

    /// Labels (as written) and value of each sample of a metric.
    pub(crate) fn of<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(metric)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().ok()?))
        })
    }

    /// Sum over all samples of a metric.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        self.of(metric).map(|(_, value)| value).sum()
    }
}

/// Value of one label, as written.
pub(crate) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_whose_name_only_begins_the_same_is_another() {
        let text = "# HELP a b\na{x=\"1\",probe=\"send\"} 2\na 3\na_total 9\na{x=\"2\"} 0.5\n";
        let samples = Samples { text: text.into() };
        assert_eq!(samples.sum("a"), 5.5);
        let probes: Vec<_> = samples
            .of("a")
            .map(|(labels, _)| label(labels, "probe"))
            .collect();
        assert_eq!(probes, [Some("send"), None, None]);
    }
}
