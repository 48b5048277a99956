//! The table of probes: what each is for and the ladder of hooks it tries, best first.

/// Where a kernel program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Raw tracepoint.
    Raw(&'static str),
    /// Tracepoint with types (BPF trampoline).
    Btf(&'static str),
    /// Entry of a function (BPF trampoline).
    Fentry(&'static str),
    /// Exit of a function (BPF trampoline).
    Fexit(&'static str),
    /// Entry of a function (kprobe).
    Kprobe(&'static str),
    /// Exit of a function (kprobe).
    Kretprobe(&'static str),
}

impl Hook {
    /// The tracepoint or function.
    pub fn target(self) -> &'static str {
        match self {
            Self::Raw(name)
            | Self::Btf(name)
            | Self::Fentry(name)
            | Self::Fexit(name)
            | Self::Kprobe(name)
            | Self::Kretprobe(name) => name,
        }
    }

    /// The name to look for in the kernel's BTF: a tracepoint `NAME` stands there as
    /// `btf_trace_NAME`.
    pub fn is_tracepoint(self) -> bool {
        matches!(self, Self::Raw(_) | Self::Btf(_))
    }

    /// Whether it needs the program type TRACING.
    pub fn needs_tracing(self) -> bool {
        matches!(self, Self::Btf(_) | Self::Fentry(_) | Self::Fexit(_))
    }
}

/// One way to get a probe's facts; all its programs are attached or none.
#[derive(Debug)]
pub struct Rung {
    /// Name in metrics, `doctor` and the configuration.
    pub name: &'static str,
    /// Kernel program and hook of each part.
    pub programs: &'static [(&'static str, Hook)],
    /// Parts that are attached only where the kernel has the function.
    pub extra: &'static [(&'static str, Hook)],
    /// What it does not see, for the documentation.
    pub blind: &'static str,
}

/// One row.
#[derive(Debug)]
pub struct Probe {
    /// Name in metrics, `doctor` and the configuration.
    pub name: &'static str,
    /// What it is for.
    pub fact: &'static str,
    /// Ways, best first.
    pub rungs: &'static [Rung],
    /// First kernel version that can have it.
    pub since: &'static str,
    /// Order in which probes are shed to keep within the overhead budget; 0 is never.
    pub shed: u32,
    /// Fields that it cannot do without, by their names in `weir_ebpf::field`.
    pub needs: &'static [&'static str],
}

const fn rung(
    name: &'static str,
    programs: &'static [(&'static str, Hook)],
    blind: &'static str,
) -> Rung {
    Rung {
        name,
        programs,
        extra: &[],
        blind,
    }
}

/// Fields behind a socket's own counters.
const FLOW: &[&str] = &[
    "snd_una",
    "write_seq",
    "bytes_acked",
    "bytes_received",
    "rcv_nxt",
    "copied_seq",
    "chrono_stat",
    "chrono_start",
    "chrono_type",
    "sk_cookie",
];

/// All probes.
pub static PROBES: &[Probe] = &[
    Probe {
        name: "tcp_state",
        fact: "connections opened, closed and failed; bytes, acked bytes and sender clocks at close",
        rungs: &[
            rung(
                "btf",
                &[("state_btf", Hook::Btf("inet_sock_set_state"))],
                "",
            ),
            rung(
                "raw",
                &[("state_raw", Hook::Raw("inet_sock_set_state"))],
                "",
            ),
        ],
        since: "4.16",
        shed: 0,
        needs: &[
            "sk_protocol",
            "sk_num",
            "sk_net",
            "net_inum",
            "sk_err",
            "task_leader",
            "task_comm",
            "task_start",
        ],
    },
    Probe {
        name: "tcp_send",
        fact: "send duration, send queue, begin of a delivery",
        rungs: &[
            Rung {
                name: "fentry",
                programs: &[
                    ("send_in_fentry", Hook::Fentry("tcp_sendmsg")),
                    ("send_out_fexit", Hook::Fexit("tcp_sendmsg")),
                ],
                extra: &[
                    ("page_in_fentry", Hook::Fentry("tcp_sendpage")),
                    ("page_out_fexit", Hook::Fexit("tcp_sendpage")),
                ],
                blind: "",
            },
            rung(
                "kprobe",
                &[
                    ("send_in_kprobe", Hook::Kprobe("tcp_sendmsg")),
                    ("send_out_kretprobe", Hook::Kretprobe("tcp_sendmsg")),
                ],
                "sendfile and splice before 6.5; sends beyond the kernel's bound of concurrent return probes",
            ),
            rung(
                "tracepoint",
                &[
                    ("send_in_locked", Hook::Raw("tcp_sendmsg_locked")),
                    ("send_out_length", Hook::Raw("sock_send_length")),
                ],
                "the wait for the socket's lock",
            ),
            rung(
                "syscall",
                &[
                    ("send_in_syscall", Hook::Raw("sys_enter")),
                    ("send_out_syscall", Hook::Raw("sock_send_length")),
                ],
                "io_uring; counts the way into the system call too",
            ),
        ],
        since: "5.10",
        shed: 2,
        needs: &[
            "sk_wmem_queued",
            "write_seq",
            "snd_una",
            "snd_nxt",
            "snd_wnd",
            "mss_cache",
            "sk_write_queue_len",
        ],
    },
    Probe {
        name: "tcp_ack",
        fact: "round-trip time, delivery duration, zero-window time",
        rungs: &[
            rung("btf", &[("ack_btf", Hook::Btf("tcp_probe"))], ""),
            rung("raw", &[("ack_raw", Hook::Raw("tcp_probe"))], ""),
        ],
        since: "4.16",
        shed: 3,
        needs: &[
            "srtt_us",
            "skb_data",
            "snd_nxt",
            "snd_una",
            "write_seq",
            "mss_cache",
            "snd_wscale",
            "sk_write_queue_len",
        ],
    },
    Probe {
        name: "tcp_retransmit",
        fact: "retransmits by kind",
        rungs: &[
            rung(
                "btf",
                &[("retransmit_btf", Hook::Btf("tcp_retransmit_skb"))],
                "",
            ),
            rung(
                "raw",
                &[("retransmit_raw", Hook::Raw("tcp_retransmit_skb"))],
                "",
            ),
        ],
        since: "4.15",
        shed: 0,
        needs: &["sk_state", "ca_state", "skb_cb", "cb_gso_segs"],
    },
    Probe {
        name: "tcp_synack",
        fact: "SYN-ACK retransmits",
        rungs: &[
            rung(
                "btf",
                &[("synack_btf", Hook::Btf("tcp_retransmit_synack"))],
                "",
            ),
            rung(
                "raw",
                &[("synack_raw", Hook::Raw("tcp_retransmit_synack"))],
                "",
            ),
        ],
        since: "4.15",
        shed: 0,
        needs: &["sk_num", "sk_net", "net_inum"],
    },
    Probe {
        name: "tcp_congestion",
        fact: "retransmits found needless by timestamps or F-RTO; DSACK needs no probe",
        rungs: &[
            rung(
                "btf",
                &[("congestion_btf", Hook::Btf("tcp_cong_state_set"))],
                "",
            ),
            rung(
                "raw",
                &[("congestion_raw", Hook::Raw("tcp_cong_state_set"))],
                "",
            ),
        ],
        since: "5.19",
        shed: 0,
        needs: &["undo_marker", "dsack_dups"],
    },
    Probe {
        name: "sched_delay",
        fact: "run-queue delay",
        rungs: &[
            rung(
                "btf",
                &[
                    ("wakeup_btf", Hook::Btf("sched_wakeup")),
                    ("wakeup_new_btf", Hook::Btf("sched_wakeup_new")),
                    ("exit_btf", Hook::Btf("sched_process_exit")),
                    ("switch_btf", Hook::Btf("sched_switch")),
                ],
                "",
            ),
            rung(
                "raw",
                &[
                    ("wakeup_raw", Hook::Raw("sched_wakeup")),
                    ("wakeup_new_raw", Hook::Raw("sched_wakeup_new")),
                    ("exit_raw", Hook::Raw("sched_process_exit")),
                    ("switch_raw", Hook::Raw("sched_switch")),
                ],
                "",
            ),
        ],
        since: "5.10",
        shed: 1,
        needs: &["task_pid", "task_tgid"],
    },
];

/// Programs that the agent runs itself to sum up open sockets: all at once (5.13), else one by one.
pub const WALK_ALL: &str = "walk_all";
/// See [`WALK_ALL`].
pub const WALK_ONE: &[&str] = &["walk_one", "walk_seed"];

/// Fields that every probe needs: without them no socket can be followed.
pub const BASE: &[&str] = FLOW;

/// The probe of this name.
pub fn find(name: &str) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::field::Fields;

    #[test]
    fn needed_fields_are_fields() {
        for name in PROBES.iter().flat_map(|probe| probe.needs).chain(BASE) {
            assert_eq!(Fields::NONE.has(name), Some(false), "{name}");
        }
    }

    #[test]
    fn a_program_is_in_one_rung_only() {
        let mut names: Vec<_> = PROBES
            .iter()
            .flat_map(|probe| probe.rungs)
            .flat_map(|rung| rung.programs.iter().chain(rung.extra))
            .map(|(program, _)| program)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
