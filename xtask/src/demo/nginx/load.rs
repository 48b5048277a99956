//! The server and its clients: nginx with pages and video segments, viewers that
//! keep their connections, visitors that open one for each page.

use std::{fs, path::Path, sync::atomic::AtomicBool};

use anyhow::{Context as _, Result};

use super::{Network, SERVER};
use crate::command::{find, step};
use crate::demo::process::Processes;

const VIEWERS: &str = "16";
const VISITORS: usize = 4;
/// Pages per second of each visitor.
const PAGES: &str = "15/s";

/// Content: name and size. A segment is two seconds of video at 1 Mbit/s.
const FILES: [(&str, usize); 2] = [("page.html", 6_000), ("segment.ts", 250_000)];

/// Starts nginx and its clients.
pub(super) fn start(processes: &mut Processes, network: &Network, stop: &AtomicBool) -> Result<()> {
    step!("nginx with {VIEWERS} viewers on kept connections and {VISITORS} visitors on short ones");
    let directory = processes.directory().to_owned();
    let content = directory.join("www");
    fs::create_dir_all(&content).context("making a directory for content")?;
    for (name, size) in FILES {
        fs::write(content.join(name), vec![b'w'; size])
            .with_context(|| format!("writing {name}"))?;
    }
    let config = directory.join("nginx.conf");
    fs::write(&config, nginx_config(&directory)).context("writing nginx.conf")?;
    let nginx = find("nginx")
        .context("nginx is missing")?
        .display()
        .to_string();
    let log = directory.join("error.log").display().to_string();
    processes.start(
        "nginx",
        Some(&network.server),
        &[&nginx, "-e", &log, "-c", &config.display().to_string()],
    )?;
    network.wait_for_server(processes, stop)?;
    let segment = format!("http://{SERVER}/segment.ts");
    // Longer than anyone watches: the demo ends it.
    let clients = Some(network.clients.as_str());
    processes.start(
        "wrk",
        clients,
        &["wrk", "-t1", "-c", VIEWERS, "-d", "700h", &segment],
    )?;
    let pages = format!("http://{SERVER}/page.html?[1-100000000]");
    for visitor in 0..VISITORS {
        processes.start(
            &format!("curl-{visitor}"),
            clients,
            &[
                "curl",
                "-s",
                "--rate",
                PAGES,
                "-H",
                "Connection: close",
                "-o",
                "/dev/null",
                &pages,
            ],
        )?;
    }
    Ok(())
}

/// Debian's nginx as it is, told to keep everything it writes in one directory.
fn nginx_config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off;\n\
         user root;\n\
         worker_processes 1;\n\
         pid {directory}/nginx.pid;\n\
         error_log {directory}/error.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
         access_log off;\n\
         sendfile on;\n\
         client_body_temp_path {directory}/body;\n\
         proxy_temp_path {directory}/proxy;\n\
         fastcgi_temp_path {directory}/fastcgi;\n\
         uwsgi_temp_path {directory}/uwsgi;\n\
         scgi_temp_path {directory}/scgi;\n\
         server {{ listen {SERVER}:80; root {directory}/www; }}\n\
         }}\n"
    )
}
