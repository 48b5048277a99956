//! What the probes decide about TCP, as plain functions.

/// States of `sk_state` (include/net/tcp_states.h; part of the kernel's user interface).
pub mod state {
    #![expect(missing_docs, reason = "the kernel's own names")]
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;
}

/// Congestion states (`icsk_ca_state`, include/uapi/linux/tcp.h).
pub mod ca {
    #![expect(missing_docs, reason = "the kernel's own names")]
    pub const OPEN: u32 = 0;
    pub const RECOVERY: u32 = 3;
    pub const LOSS: u32 = 4;
}

/// Why a segment was sent again; the index in `Stats::retransmits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Retransmit {
    /// Retransmission timeout: the congestion state is Loss.
    Rto,
    /// Fast retransmission: the congestion state is Recovery.
    Fast,
    /// Tail loss probe: no loss is established yet.
    Tlp,
    /// Connection request.
    Syn,
    /// Answer to a connection request.
    Synack,
}

/// Number of kinds.
pub const RETRANSMITS: usize = 5;

impl Retransmit {
    /// The kind, from the socket's state and congestion state at the retransmission. In Open,
    /// Disorder and CWR nothing but a tail loss probe sends again (net/ipv4/tcp_output.c,
    /// `tcp_send_loss_probe`); timers enter Loss and the SACK machinery Recovery first.
    #[inline(always)]
    pub fn kind(sk_state: u32, ca_state: u32) -> Self {
        match (sk_state, ca_state) {
            (state::SYN_SENT, _) => Self::Syn,
            (state::SYN_RECV, _) => Self::Synack,
            (_, ca::LOSS) => Self::Rto,
            (_, ca::RECOVERY) => Self::Fast,
            _ => Self::Tlp,
        }
    }
}

/// How a connection came to be; the index in `Stats::connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// By `connect`.
    Connected,
    /// From a listener.
    Accepted,
}

/// What became of a connection; the second index in `Stats::connections`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// It was established.
    Opened,
    /// It had been established and is over.
    Closed,
    /// The peer refused it.
    Refused,
    /// Nobody answered.
    TimedOut,
    /// It was reset before it was established.
    Reset,
    /// The network said that the peer cannot be reached.
    Unreachable,
    /// The application gave up.
    Aborted,
}

/// Number of outcomes.
pub const OUTCOMES: usize = 7;

impl Outcome {
    /// Why a connection failed, from the socket's pending error (`sk_err`).
    #[inline(always)]
    pub fn of_failure(role: Role, sk_err: u32) -> Self {
        const ECONNRESET: u32 = 104;
        const ETIMEDOUT: u32 = 110;
        const ECONNREFUSED: u32 = 111;
        match (role, sk_err) {
            (_, ECONNREFUSED) => Self::Refused,
            (_, ETIMEDOUT) => Self::TimedOut,
            (Role::Accepted, _) | (_, ECONNRESET) => Self::Reset,
            (Role::Connected, 0) => Self::Aborted,
            (Role::Connected, _) => Self::Unreachable,
        }
    }
}

/// Whether sequence number `a` is not before `b`, modulo 2^32.
#[inline(always)]
pub fn reaches(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

/// The send side at one moment, after an ACK or a send.
#[derive(Clone, Copy, Debug)]
pub struct SendSide {
    /// Oldest byte not confirmed.
    pub una: u32,
    /// Next byte to be sent for the first time.
    pub nxt: u32,
    /// Next byte the application will hand over.
    pub write: u32,
    /// Window the peer granted from `una` on, in bytes.
    pub window: u32,
    /// Segment size.
    pub mss: u32,
}

impl SendSide {
    /// Whether the peer's window is what holds the data back: something is unsent, nothing is in
    /// flight, and the window does not admit the next segment. This is when the kernel arms its
    /// zero-window probe (`tcp_snd_wnd_test` and `tcp_check_probe_timer`).
    #[inline(always)]
    pub fn is_shut(&self) -> bool {
        let unsent = self.write.wrapping_sub(self.nxt);
        if unsent == 0 || unsent > i32::MAX as u32 || self.una != self.nxt {
            return false;
        }
        let segment = if unsent < self.mss { unsent } else { self.mss };
        self.window < segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timeouts_recovery_and_probes_are_told_apart() {
        assert_eq!(Retransmit::kind(state::SYN_SENT, ca::LOSS), Retransmit::Syn);
        assert_eq!(
            Retransmit::kind(state::ESTABLISHED, ca::LOSS),
            Retransmit::Rto
        );
        assert_eq!(
            Retransmit::kind(state::ESTABLISHED, ca::RECOVERY),
            Retransmit::Fast
        );
        assert_eq!(
            Retransmit::kind(state::ESTABLISHED, ca::OPEN),
            Retransmit::Tlp
        );
        assert_eq!(Retransmit::kind(state::ESTABLISHED, 1), Retransmit::Tlp);
    }

    #[test]
    fn a_failed_connection_says_why() {
        assert_eq!(Outcome::of_failure(Role::Connected, 111), Outcome::Refused);
        assert_eq!(Outcome::of_failure(Role::Connected, 110), Outcome::TimedOut);
        assert_eq!(
            Outcome::of_failure(Role::Connected, 113),
            Outcome::Unreachable
        );
        assert_eq!(Outcome::of_failure(Role::Connected, 0), Outcome::Aborted);
        assert_eq!(Outcome::of_failure(Role::Accepted, 0), Outcome::Reset);
    }

    #[test]
    fn a_full_window_in_flight_is_not_a_shut_window() {
        let side = SendSide {
            una: 0,
            nxt: 1000,
            write: 5000,
            window: 1000,
            mss: 1448,
        };
        assert!(!side.is_shut());
        assert!(
            SendSide {
                una: 1000,
                window: 0,
                ..side
            }
            .is_shut()
        );
        assert!(
            !SendSide {
                una: 1000,
                window: 1448,
                ..side
            }
            .is_shut()
        );
        assert!(
            !SendSide {
                una: 1000,
                window: 0,
                write: 1000,
                ..side
            }
            .is_shut()
        );
    }

    proptest! {
        #[test]
        fn sequence_numbers_wrap(base: u32, ahead in 0_u32..1 << 31) {
            prop_assert!(reaches(base.wrapping_add(ahead), base));
            prop_assert!(ahead == 0 || !reaches(base, base.wrapping_add(ahead)));
        }

        #[test]
        fn a_shut_window_does_not_depend_on_where_numbers_start(
            shift: u32, unsent in 0_u32..1 << 20, flight in 0_u32..3000, window in 0_u32..3000,
        ) {
            let side = SendSide { una: 0, nxt: flight, write: flight + unsent, window, mss: 1448 };
            let moved = SendSide {
                una: side.una.wrapping_add(shift),
                nxt: side.nxt.wrapping_add(shift),
                write: side.write.wrapping_add(shift),
                ..side
            };
            prop_assert_eq!(side.is_shut(), moved.is_shut());
        }
    }
}
