//! The kernel's fields that the probes read. Rust cannot emit CO-RE relocations, so the agent
//! looks each one up in the running kernel's BTF at start and hands the offsets to the probes as
//! a read-only constant.

/// Offset of a field that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// A bit field: the byte that holds it, and where in that byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Offset of the byte.
    pub byte: u32,
    /// Bits to shift it right.
    pub shift: u32,
    /// Mask after the shift.
    pub mask: u32,
}

/// Where to write what BTF says of a field.
#[derive(Debug)]
pub enum Place<'a> {
    /// Byte offset of a plain field.
    Offset(&'a mut u32),
    /// Position of a bit field.
    Bits(&'a mut Bits),
}

macro_rules! fields {
    ($( $name:ident: $kind:ident = $owner:literal . $field:literal; )*) => {
        /// Offsets in bytes; [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is named after its kernel field in the table below")]
        pub struct Fields { $( pub $name: fields!(@type $kind), )* }

        impl Fields {
            /// No field known.
            pub const NONE: Self = Self { $( $name: fields!(@none $kind), )* };

            /// Kernel structure, dotted path of the field in it, and where its offset goes.
            pub fn places(&mut self) -> impl Iterator<Item = (&'static str, &'static str, Place<'_>)> {
                [ $( ($owner, $field, Place::$kind(&mut self.$name)), )* ].into_iter()
            }

            /// Whether the kernel has the field of this name; `None` if there is no such name.
            pub fn has(&self, name: &str) -> Option<bool> {
                match name {
                    $( stringify!($name) => Some(fields!(@has $kind, self.$name)), )*
                    _ => None,
                }
            }
        }
    };
    (@type Offset) => { u32 };
    (@type Bits) => { Bits };
    (@has Offset, $place:expr) => { $place != ABSENT };
    (@has Bits, $place:expr) => { $place.byte != ABSENT };
    (@none Offset) => { ABSENT };
    (@none Bits) => { Bits { byte: ABSENT, shift: 0, mask: 0 } };
}

fields! {
    sk_family: Offset = "sock_common"."skc_family";
    sk_state: Offset = "sock_common"."skc_state";
    sk_num: Offset = "sock_common"."skc_num";
    sk_daddr: Offset = "sock_common"."skc_daddr";
    sk_v6_daddr: Offset = "sock_common"."skc_v6_daddr";
    sk_net: Offset = "sock_common"."skc_net";
    sk_cookie: Offset = "sock_common"."skc_cookie";
    sk_protocol: Offset = "sock"."sk_protocol";
    sk_err: Offset = "sock"."sk_err";
    sk_wmem_queued: Offset = "sock"."sk_wmem_queued";
    sk_write_queue_len: Offset = "sock"."sk_write_queue.qlen";
    net_inum: Offset = "net"."ns.inum";
    ca_state: Bits = "inet_connection_sock"."icsk_ca_state";
    snd_una: Offset = "tcp_sock"."snd_una";
    snd_nxt: Offset = "tcp_sock"."snd_nxt";
    snd_wnd: Offset = "tcp_sock"."snd_wnd";
    write_seq: Offset = "tcp_sock"."write_seq";
    rcv_nxt: Offset = "tcp_sock"."rcv_nxt";
    copied_seq: Offset = "tcp_sock"."copied_seq";
    mss_cache: Offset = "tcp_sock"."mss_cache";
    srtt_us: Offset = "tcp_sock"."srtt_us";
    bytes_acked: Offset = "tcp_sock"."bytes_acked";
    bytes_received: Offset = "tcp_sock"."bytes_received";
    dsack_dups: Offset = "tcp_sock"."dsack_dups";
    undo_marker: Offset = "tcp_sock"."undo_marker";
    chrono_start: Offset = "tcp_sock"."chrono_start";
    chrono_stat: Offset = "tcp_sock"."chrono_stat";
    chrono_type: Bits = "tcp_sock"."chrono_type";
    snd_wscale: Bits = "tcp_sock"."rx_opt.snd_wscale";
    skb_data: Offset = "sk_buff"."data";
    skb_cb: Offset = "sk_buff"."cb";
    cb_gso_segs: Offset = "tcp_skb_cb"."tcp_gso_segs";
    task_pid: Offset = "task_struct"."pid";
    task_tgid: Offset = "task_struct"."tgid";
    task_leader: Offset = "task_struct"."group_leader";
    task_comm: Offset = "task_struct"."comm";
    task_start: Offset = "task_struct"."start_boottime";
    task_state: Offset = "task_struct"."__state";
    task_state_old: Offset = "task_struct"."state";
}

/// Constants besides the offsets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 1: records go to the perf buffer, 0: to the ring buffer.
    pub perf: u32,
    /// 1: the kernel has the coarse clock helper (5.11).
    pub coarse_clock: u32,
    /// 1: peer groups are configured, so look peers up.
    pub peer_groups: u32,
    /// BTF id of `struct tcp_sock` where the kernel has [`CAST`], so that its fields can be loaded
    /// like a program's own; 0: they are read by helper.
    pub tcp_sock: u32,
    /// The same of `struct task_struct`.
    pub task: u32,
    /// 1: `tcp_retransmit_skb` also tells of segments that could not be sent, and passes the error
    /// as its third argument (6.17).
    pub retransmit_error: u32,
}

/// Stands in the object for the kernel's function `bpf_rdonly_cast` (6.2), whose number is known at
/// start only: the agent puts the real call in its place. Where the kernel lacks the function, the
/// call stays as it is and is never reached.
pub const CAST: u32 = u32::from_be_bytes(*b"WEIR");
