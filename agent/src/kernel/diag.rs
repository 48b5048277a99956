//! The TCP sockets that are open, from the kernel's socket dump (inet_diag). For sockets that were
//! open before the probes: who they are, and what the kernel has counted for them so far.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::{Nla, TcpInfo};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, InetResponseHeader, SocketId, StateFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use rustix::thread::LinkNameSpaceType;

/// The kernel fills at most 32 KiB at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of a netlink message's header; none is shorter.
const HEADER_BYTES: usize = 16;
/// The kernel answers from memory; this long means that it will not.
const PATIENCE: Duration = Duration::from_secs(5);

const REFUSED: &str =
    "cannot list TCP sockets (the kernel needs CONFIG_INET_TCP_DIAG, or its module tcp_diag)";

/// One open TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// Kernel's number of the state: 1 is established, 10 is listening.
    pub state: u8,
    /// Address family of the socket: 2 is IPv4, 10 is IPv6.
    pub family: u8,
    /// Own address; that of a listening socket may be unspecified. IPv4 peers of IPv6 sockets are
    /// shown as IPv4, here and in `remote`.
    pub local: SocketAddr,
    /// Peer's address.
    pub remote: SocketAddr,
    /// Number of the socket's inode; 0 if no process holds it any more.
    pub inode: u64,
    /// The kernel's identity of the socket, never used twice; what `bpf_get_socket_cookie` gives.
    pub cookie: u64,
    /// Its owner's user id.
    pub uid: u32,
    /// Bytes received and not read yet; for a listening socket the connections that wait.
    pub receive_queue: u32,
    /// Bytes to send that the peer has not confirmed.
    pub send_queue: u32,
    /// What the kernel has counted since the socket was made.
    pub counts: DiagCounts,
}

/// What the kernel counts for a socket; the fields of `struct tcp_info` of the like names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiagCounts {
    /// Bytes sent, retransmitted ones included.
    pub bytes_sent: u64,
    /// Bytes the peer has confirmed, as the kernel counts them: with the SYN, if it was sent.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes sent again.
    pub bytes_retransmitted: u64,
    /// Segments sent, with and without data.
    pub segments_out: u32,
    /// Segments received, with and without data.
    pub segments_in: u32,
    /// Segments with data sent.
    pub data_segments_out: u32,
    /// Segments with data received.
    pub data_segments_in: u32,
    /// Segments sent again.
    pub segments_retransmitted: u32,
    /// Duplicates that the peer reported.
    pub dsack_duplicates: u32,
    /// Microseconds with data to send, the two below included.
    pub busy_us: u64,
    /// Microseconds limited by the peer's window.
    pub rwnd_limited_us: u64,
    /// Microseconds limited by the send buffer.
    pub sndbuf_limited_us: u64,
    /// Smoothed round-trip time in microseconds; 0 before the first sample.
    pub srtt_us: u32,
    /// Peer's window in bytes.
    pub send_window: u32,
    /// Segments sent and not confirmed; for a listening socket the connections that wait.
    pub unacked: u32,
    /// Bytes queued and not sent.
    pub not_sent: u32,
}

/// Open sockets of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The sockets: all states but those in which the kernel keeps no full socket (TIME_WAIT, a
    /// FIN_WAIT2 that nobody holds, a handshake not yet done).
    pub sockets: Vec<DiagSocket>,
    /// Sockets left out because of the bound.
    pub left_out: usize,
    /// Messages that could not be read.
    pub unreadable: usize,
}

/// Lists the TCP sockets, IPv4 and IPv6, of the network namespace that `netns` is, or of the
/// calling thread's; at most `max_sockets`. Blocks for about 2 µs a socket.
///
/// # Errors
/// If the namespace may not be entered (that needs `CAP_SYS_ADMIN`), or the kernel has no socket
/// dump (`CONFIG_INET_DIAG`, `CONFIG_INET_TCP_DIAG`).
pub fn dump(netns: Option<&File>, max_sockets: usize) -> io::Result<Dump> {
    let Some(netns) = netns else {
        return dump_here(max_sockets);
    };
    // A thread that entered a namespace stays there; so it is one that does nothing else.
    thread::scope(|scope| {
        thread::Builder::new()
            .name("weir-diag".to_owned())
            .spawn_scoped(scope, || {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(netns.as_fd(), kind)
                    .map_err(|error| explain("cannot enter the network namespace", error.into()))?;
                dump_here(max_sockets)
            })?
            .join()
            .map_err(|_| io::Error::other("the thread that lists sockets has panicked"))?
    })
}

fn dump_here(max_sockets: usize) -> io::Result<Dump> {
    let socket =
        open().map_err(|error| explain("cannot open a socket for NETLINK_SOCK_DIAG", error))?;
    let mut dump = Dump::default();
    for (family, id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        let request = request(family, id);
        rustix::net::send(&socket, &request, SendFlags::empty())?;
        receive(&socket, &mut dump, max_sockets).map_err(|error| explain(REFUSED, error))?;
    }
    Ok(dump)
}

fn explain(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn open() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    // Connected to the kernel: nobody else can answer.
    rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

fn request(family: u8, socket_id: SocketId) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(
        header,
        NetlinkPayload::from(SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            // Asking for SYN_RECV would give every entry of the SYN queue.
            states: StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::SYN_RECV,
            socket_id,
        })),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn receive(socket: &OwnedFd, dump: &mut Dump, max_sockets: usize) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (received, _) = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read(buffer.get(..received).unwrap_or(&buffer), dump, max_sockets)? {
            return Ok(());
        }
    }
}

/// Reads the messages in `bytes`; true after the last one of a dump.
fn read(mut bytes: &[u8], dump: &mut Dump, max_sockets: usize) -> io::Result<bool> {
    while !bytes.is_empty() {
        let length = match NetlinkBuffer::new_checked(bytes) {
            Ok(message) => (message.length() as usize).max(HEADER_BYTES),
            Err(_) => {
                dump.unreadable += 1;
                break;
            }
        };
        match NetlinkMessage::<SockDiagMessage>::deserialize(bytes).map(|message| message.payload) {
            Ok(NetlinkPayload::Done(done)) if done.code == 0 => return Ok(true),
            Ok(NetlinkPayload::Done(done)) => {
                return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
            }
            Ok(NetlinkPayload::Error(error)) if error.code.is_some() => return Err(error.to_io()),
            Ok(NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response))) => {
                if let Some(socket) = socket(&response) {
                    if dump.sockets.len() < max_sockets {
                        dump.sockets.push(socket);
                    } else {
                        dump.left_out += 1;
                    }
                }
            }
            Ok(_) => {}
            Err(_) => dump.unreadable += 1,
        }
        let next = length.next_multiple_of(4).min(bytes.len());
        bytes = &bytes[next..];
    }
    Ok(false)
}

/// A full socket; what has no counts is a mere remainder.
fn socket(response: &InetResponse) -> Option<DiagSocket> {
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    })?;
    let InetResponseHeader {
        family,
        state,
        socket_id: id,
        uid,
        inode,
        recv_queue,
        send_queue,
        ..
    } = &response.header;
    Some(DiagSocket {
        state: *state,
        family: *family,
        local: SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        remote: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
        inode: u64::from(*inode),
        cookie: cookie(id.cookie),
        uid: *uid,
        receive_queue: *recv_queue,
        send_queue: *send_queue,
        counts: counts(info),
    })
}

/// Two words in the machine's byte order, the lower one first.
fn cookie(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let low = u32::from_ne_bytes([a, b, c, d]);
    let high = u32::from_ne_bytes([e, f, g, h]);
    u64::from(high) << 32 | u64::from(low)
}

fn counts(info: &TcpInfo) -> DiagCounts {
    DiagCounts {
        bytes_sent: info.bytes_sent,
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        bytes_retransmitted: info.bytes_retrans,
        segments_out: info.segs_out,
        segments_in: info.segs_in,
        data_segments_out: info.data_segs_out,
        data_segments_in: info.data_segs_in,
        segments_retransmitted: info.total_retrans,
        dsack_duplicates: info.dsack_dups,
        busy_us: info.busy_time,
        rwnd_limited_us: info.rwnd_limited,
        sndbuf_limited_us: info.sndbuf_limited,
        srtt_us: info.rtt,
        send_window: info.snd_wnd,
        unacked: info.unacked,
        not_sent: info.notsent_bytes,
    }
}

#[cfg(test)]
mod tests;
