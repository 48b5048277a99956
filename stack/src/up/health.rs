//! Whether a service answers `GET /healthz` with 200: plain HTTP/1.1, no redirects, bounded in
//! time and size.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::service::Addresses;
use crate::link::namespace::inside;

const PATIENCE: Duration = Duration::from_secs(2);
/// Enough for the first line of an answer.
const MOST_BYTES: u64 = 64;

/// Asks at each address until one says it is well; those named for it first.
pub(crate) fn check(addresses: &Addresses, namespace: Option<&str>) -> Result<()> {
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
            Some(namespace) => inside(namespace, || ask(authority)),
            None => ask(authority),
        };
        match result {
            Ok(()) => return Ok(()),
            Err(error) => refused.push(format!("{authority}: {error:#}")),
        }
    }
    bail!("no address answers GET /healthz with 200: {}", refused.join("; "))
}

fn ask(authority: &str) -> Result<()> {
    let address = authority.to_socket_addrs().context("no address")?.next().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut head = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    if !line.starts_with("HTTP/1.1 200") {
        bail!("it answers {line:?}");
    }
    Ok(())
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
