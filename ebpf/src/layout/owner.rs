//! Who does something, and the record that tells of it.

/// Length of a command name, with its end.
pub const COMM: usize = 16;

/// Who does something: the cgroup, the command of the process, and the group of its peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerKey {
    /// Inode number of the cgroup v2 directory.
    pub cgroup: u64,
    /// Command of the thread-group leader, zero-padded.
    pub comm: [u8; COMM],
    /// Peer group, 0 if none.
    pub group: u64,
}

/// The place of an owner, and the first process seen of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    /// Start of that process, nanoseconds since boot: tells a reused pid.
    pub start_ns: u64,
    /// Its process id.
    pub tgid: u32,
    /// Index into `STATS`.
    pub slot: u32,
}

/// Key of a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Port in host byte order.
    pub port: u32,
}

/// Who listens.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Its owner, peer group 0.
    pub key: OwnerKey,
    /// Place of that owner.
    pub owner: Owner,
}

/// What a thread is at; index is its id modulo the array's length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// When its send began; 0 if it is in none.
    pub send_at_ns: u64,
    /// Socket it sends on; 0 if the rung does not know.
    pub send_sk: u64,
    /// Since when it waits for a CPU; 0 if it does not.
    pub queued_at_ns: u64,
    /// Thread id; others are strangers that share the place.
    pub tid: u32,
    /// Where its process's run-queue delay is counted; 0 if it is not observed.
    pub slot: u32,
    /// Generation of `PROCESSES` in which `slot` was looked up.
    pub generation: u64,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A new owner got a place.
    Owner,
    /// A rare fact was counted.
    Change,
}

/// Number of kinds of records.
pub const RECORDS: usize = 2;

/// What every record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// When, nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// `RecordKind`.
    pub kind: u32,
    /// Length of the whole record.
    pub len: u32,
}

/// A new owner got a place: name it while its process is there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OwnerRecord {
    /// Kind and time.
    pub header: Header,
    /// Who.
    pub key: OwnerKey,
    /// Where.
    pub owner: Owner,
}
