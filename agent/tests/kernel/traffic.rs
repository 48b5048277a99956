//! What a peer can be told to do. Sockets are numbered as they are made.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// A peer's sockets.
#[derive(Default)]
pub(crate) struct Traffic {
    listener: Option<TcpListener>,
    streams: Vec<Option<TcpStream>>,
    half_open: Vec<OwnedFd>,
}

impl Traffic {
    /// Does as told; gives the answer.
    pub(crate) fn obey(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        let mut answer = "ok".to_owned();
        match words[0] {
            "listen" => answer = self.listen(number(1)),
            "connect" => answer = self.connect(words[1], number(2)),
            "accept" => answer = self.accept(),
            "option" => set(self.stream(number(1)), words[2], number(3)),
            "send" => send(self.stream(number(1)), number(2), number(3)),
            "receive" => receive(self.stream(number(1)), number(2)),
            "close" => drop(self.streams[number(1)].take()),
            "reset" => self.reset(number(1)),
            "sink" => self.sink(number(1), 0, Duration::ZERO),
            "sip" => self.sink(
                number(1),
                number(2),
                Duration::from_micros(number(3) as u64),
            ),
            "echo" => self.echo(number(1), number(2)),
            "call" => answer = call(self.stream(number(1)), number(2)),
            "timed" => {
                let pause = Duration::from_micros(number(4) as u64);
                answer = timed(self.stream(number(1)), number(2), number(3), pause);
            }
            "polite" => self.stream(number(1)).set_nonblocking(true).unwrap(),
            "serve" => self.serve(),
            "visit" => answer = visit(words[1], number(2), number(3)),
            "give-up" => self.give_up(words[1], number(2)),
            "pin" => pin(number(1)),
            "hurry" => rustix::process::setpriority_process(None, -20).unwrap(),
            "spin" => answer = spin(number(1), number(2)),
            other => panic!("no command {other}"),
        }
        answer
    }

    fn stream(&mut self, at: usize) -> &mut TcpStream {
        self.streams[at].as_mut().unwrap()
    }

    fn keep(&mut self, stream: TcpStream) -> String {
        self.streams.push(Some(stream));
        (self.streams.len() - 1).to_string()
    }

    /// Answers with the port.
    fn listen(&mut self, port: usize) -> String {
        let address = (Ipv4Addr::UNSPECIFIED, u16::try_from(port).unwrap());
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        self.listener = Some(listener);
        port.to_string()
    }

    /// Answers with the socket's number, or the error's kind.
    fn connect(&mut self, host: &str, port: usize) -> String {
        match TcpStream::connect(address(host, port)) {
            Ok(stream) => self.keep(stream),
            Err(why) => format!("{:?}", why.kind()),
        }
    }

    fn accept(&mut self) -> String {
        let (stream, _) = self.listener.as_ref().unwrap().accept().unwrap();
        self.keep(stream)
    }

    /// Closes with a reset.
    fn reset(&mut self, at: usize) {
        sockopt::set_socket_linger(self.stream(at), Some(Duration::ZERO)).unwrap();
        self.streams[at] = None;
    }

    /// Reads to the end in the background: all at once, or `chunk` bytes after each pause.
    fn sink(&mut self, at: usize, chunk: usize, pause: Duration) {
        let mut stream = self.stream(at).try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = vec![0; if chunk == 0 { 1 << 18 } else { chunk }];
            while stream.read(&mut buffer).unwrap_or(0) > 0 {
                if !pause.is_zero() {
                    thread::sleep(pause);
                }
            }
        });
    }

    /// Sends back every `size` bytes, in the background.
    fn echo(&mut self, at: usize, size: usize) {
        let mut stream = self.stream(at).try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = vec![0; size];
            while stream.read_exact(&mut buffer).is_ok() && stream.write_all(&buffer).is_ok() {}
        });
    }

    /// Takes connections in the background and closes each after its peer did.
    fn serve(&mut self) {
        let listener = self.listener.as_ref().unwrap().try_clone().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut rest = Vec::new();
                let _ = stream.unwrap().read_to_end(&mut rest);
            }
        });
    }

    /// Begins to connect and gives up before there is an answer.
    fn give_up(&mut self, host: &str, port: usize) {
        let flags = SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let begun = rustix::net::connect(&socket, &address(host, port));
        assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
        self.half_open.push(socket);
        thread::sleep(Duration::from_millis(20));
        self.half_open.clear();
    }
}

fn address(host: &str, port: usize) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), u16::try_from(port).unwrap())
}

fn set(stream: &TcpStream, option: &str, value: usize) {
    match option {
        "sndbuf" => sockopt::set_socket_send_buffer_size(stream, value).unwrap(),
        "rcvbuf" => sockopt::set_socket_recv_buffer_size(stream, value).unwrap(),
        "nodelay" => stream.set_nodelay(value == 1).unwrap(),
        other => panic!("no option {other}"),
    }
}

fn send(stream: &mut TcpStream, bytes: usize, chunk: usize) {
    let data = vec![b'x'; chunk];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(chunk);
        stream.write_all(&data[..part]).unwrap();
        left -= part;
    }
}

fn receive(stream: &mut TcpStream, bytes: usize) {
    let mut buffer = vec![0; 1 << 18];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(buffer.len());
        let got = stream.read(&mut buffer[..part]).unwrap();
        assert!(got > 0, "the peer closed, {left} bytes are missing");
        left -= got;
    }
}

/// Sends `size` bytes and waits for as many. Answers with nanoseconds from the return of the send.
fn call(stream: &mut TcpStream, size: usize) -> String {
    let mut buffer = vec![b'x'; size];
    let sent = stream.write(&buffer).unwrap();
    assert_eq!(sent, size);
    let from = Instant::now();
    stream.read_exact(&mut buffer).unwrap();
    from.elapsed().as_nanos().to_string()
}

/// Makes `count` sends that the kernel takes, each with a clock around it. Answers with the times in
/// nanoseconds, less the median of empty sends: the way into the kernel and out of it.
fn timed(stream: &mut TcpStream, count: usize, size: usize, pause: Duration) -> String {
    let data = vec![b'x'; size];
    let mut took = Vec::with_capacity(count);
    let mut empty: Vec<u128> = (0..501)
        .map(|_| {
            let from = Instant::now();
            assert_eq!(stream.write(&[]).unwrap(), 0);
            from.elapsed().as_nanos()
        })
        .collect();
    empty.sort_unstable();
    let empty = empty[empty.len() / 2];
    while took.len() < count {
        let from = Instant::now();
        let sent = stream.write(&data);
        let to = from.elapsed();
        match sent {
            Ok(_) => took.push(to.as_nanos().saturating_sub(empty).to_string()),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(200));
            }
            Err(why) => panic!("{why}"),
        }
        // Not asleep: a cold cache would lengthen the way into the kernel, not the send.
        let next = Instant::now() + pause;
        while Instant::now() < next {
            std::hint::spin_loop();
        }
    }
    took.join(" ")
}

/// Opens and closes `count` connections one after the other. Answers with how many succeeded.
fn visit(host: &str, port: usize, count: usize) -> String {
    let mut opened = 0;
    for _ in 0..count {
        if let Ok(mut stream) = TcpStream::connect(address(host, port)) {
            opened += 1;
            stream.shutdown(Shutdown::Write).unwrap();
            // Until the other side has closed too.
            let _ = stream.read(&mut [0]);
        }
    }
    opened.to_string()
}

/// Keeps this thread, and those that it starts, on a CPU; on the first if there is only that.
fn pin(cpu: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu.min(thread::available_parallelism().unwrap().get() - 1));
    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
}

/// Keeps `threads` threads busy on one CPU for a time, which then stay until the process ends.
fn spin(threads: usize, ms: usize) -> String {
    let end = Instant::now() + Duration::from_millis(ms as u64);
    let (done, all) = std::sync::mpsc::channel();
    for _ in 0..threads {
        let done = done.clone();
        thread::spawn(move || {
            pin(0);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            done.send(()).unwrap();
            loop {
                thread::park();
            }
        });
    }
    for _ in 0..threads {
        all.recv().unwrap();
    }
    // Who is last to say so may not sleep yet.
    thread::sleep(Duration::from_millis(200));
    let stat = fs::read_dir("/proc/self/task").unwrap().count();
    stat.to_string()
}
