//! The series as a target to be scraped. Everything else that is posted here is taken, too: vmalert
//! wants somebody to notify.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::course::{self, Series};

/// Most bytes of a request's body that are read.
const MAX_BODY: u64 = 16 << 20;

/// Prints its address and serves until the end of the process.
pub(crate) fn serve(interval: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let series: Arc<[_]> = course::series().map(|one| (one, named(one))).collect();
    for stream in listener.incoming().flatten() {
        let series = Arc::clone(&series);
        std::thread::spawn(move || answer(stream, &series, interval));
    }
}

/// Answers one request; a client that goes away is no trouble.
fn answer(stream: TcpStream, series: &[(Series, String)], interval: Duration) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0_u64);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().ok()?;
        }
    }
    std::io::copy(&mut reader.take(length.min(MAX_BODY)), &mut std::io::sink()).ok()?;
    let body = if first.contains(" /metrics") {
        text(series, course::interval_now(interval))
    } else {
        String::new()
    };
    let mut stream = stream;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

/// Name and labels as they are exposed.
fn named(series: Series) -> String {
    let mut out = series.name();
    for (at, (name, value)) in series.labels().iter().enumerate() {
        let open = if at == 0 { '{' } else { ',' };
        let _ = write!(out, "{open}{name}=\"{value}\"");
    }
    out.push('}');
    out
}

fn text(series: &[(Series, String)], interval: u64) -> String {
    let mut out = String::with_capacity(series.len() * 110);
    for (one, named) in series {
        let _ = writeln!(out, "{named} {}", one.value(interval));
    }
    out
}
