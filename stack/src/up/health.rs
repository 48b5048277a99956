//! What a service says of itself: `GET /healthz` and `GET /metrics` by plain HTTP/1.0, bounded in
//! time and size.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::service::Addresses;
use crate::link::namespace::inside;

const PATIENCE: Duration = Duration::from_secs(2);
/// A longer answer is cut.
const MOST_BYTES: u64 = 16 << 20;

/// Asks at each address whether it is well, until one says so.
pub(crate) fn check(addresses: &Addresses, namespace: Option<&str>) -> Result<()> {
    get(addresses, namespace, "/healthz").map(|_| ())
}

/// Its Prometheus metrics, as it prints them.
pub(crate) fn metrics(addresses: &Addresses, namespace: Option<&str>) -> Result<String> {
    get(addresses, namespace, "/metrics")
}

fn get(addresses: &Addresses, namespace: Option<&str>, path: &str) -> Result<String> {
    let mut keys: Vec<&String> = addresses.keys().collect();
    keys.sort_by_key(|key| match key.as_str() {
        "health" | "healthz" => 0,
        "http" => 1,
        "metrics" | "admin" => 2,
        _ => 3,
    });
    let mut refused = Vec::new();
    for key in keys {
        let authority = authority(&addresses[key]);
        let result = match namespace {
            Some(namespace) => inside(namespace, || ask(authority, path)),
            None => ask(authority, path),
        };
        match result {
            Ok(body) => return Ok(body),
            Err(error) => refused.push(format!("{authority}: {error:#}")),
        }
    }
    bail!(
        "no address answers GET {path} with 200: {}",
        refused.join("; ")
    )
}

fn ask(authority: &str, path: &str) -> Result<String> {
    let address = authority
        .to_socket_addrs()
        .context("no address")?
        .next()
        .context("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
    // In one piece: a peer that reads once and closes answers a second piece with a reset.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        bail!("it answers {line:?}");
    }
    Ok(body.to_owned())
}

/// `host:port` of an address that may be a URL.
pub(crate) fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(text.as_bytes());
            }
        });
        address
    }

    #[test]
    fn one_address_that_is_well_is_enough() {
        let ill = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let well = answering("HTTP/1.1 200 OK\r\n\r\n");
        let mut addresses = Addresses::from([("http".to_owned(), ill)]);
        let error = format!("{:#}", check(&addresses, None).unwrap_err());
        assert!(error.contains("503"), "{error}");
        addresses.insert("other".to_owned(), format!("http://{well}/x"));
        check(&addresses, None).unwrap();
    }

    #[test]
    fn a_url_is_stripped_to_its_authority() {
        assert_eq!(authority("http://[::1]:80/a/b"), "[::1]:80");
        assert_eq!(authority("10.0.0.1:80"), "10.0.0.1:80");
    }
}
