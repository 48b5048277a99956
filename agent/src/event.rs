//! Record bytes → [`Event`]. The only place that reads record bytes.

use thiserror::Error;
use weir_ebpf::change::Fact;
use weir_ebpf::layout::{COMM, ChangeRecord, Header, Owner, OwnerKey, OwnerRecord, RecordKind};

/// A decoded kernel fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new owner got a place in the kernel's tables.
    Owner {
        /// When, nanoseconds of the monotonic clock.
        at_ns: u64,
        /// Who.
        key: OwnerKey,
        /// Its place and first process.
        owner: Place,
    },
    /// A rare fact was counted that the probes had been asked to tell of. Those that follow within
    /// `weir_ebpf::change::EVERY_NS` at the same place are counted, not told.
    Change {
        /// When, nanoseconds of the monotonic clock.
        at_ns: u64,
        /// The place at which it was counted.
        slot: u32,
        /// What.
        fact: Fact,
    },
}

impl Event {
    /// When the kernel saw it, nanoseconds of the monotonic clock.
    pub fn at_ns(&self) -> u64 {
        match self {
            Self::Owner { at_ns, .. } | Self::Change { at_ns, .. } => *at_ns,
        }
    }
}

/// Place and first process of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into the kernel's tables.
    pub slot: u32,
    /// Process id.
    pub tgid: u32,
    /// Start of that process, nanoseconds since boot.
    pub start_ns: u64,
}

impl From<Owner> for Place {
    fn from(owner: Owner) -> Self {
        Self {
            slot: owner.slot,
            tgid: owner.tgid,
            start_ns: owner.start_ns,
        }
    }
}

/// Bytes that are no record.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the record says or its kind needs.
    #[error("record of {0} bytes is cut off")]
    Short(usize),
    /// No such kind.
    #[error("record of unknown kind {0}")]
    Kind(u32),
    /// No such fact.
    #[error("record of unknown fact {0}")]
    Fact(u32),
}

/// Decodes one record. Trailing bytes are padding of the transport.
pub fn decode(bytes: &[u8]) -> Result<Event, Malformed> {
    let mut fields = Fields { bytes, at: 0 };
    let header = Header {
        at_ns: fields.u64()?,
        kind: fields.u32()?,
        len: fields.u32()?,
    };
    if bytes.len() < header.len as usize || (header.len as usize) < size_of::<Header>() {
        return Err(Malformed::Short(bytes.len()));
    }
    const OWNER: u32 = RecordKind::Owner as u32;
    const CHANGE: u32 = RecordKind::Change as u32;
    match header.kind {
        OWNER => owner(header.at_ns, &mut fields),
        CHANGE => change(header.at_ns, &mut fields),
        unknown => Err(Malformed::Kind(unknown)),
    }
}

fn owner(at_ns: u64, fields: &mut Fields<'_>) -> Result<Event, Malformed> {
    const {
        assert!(
            size_of::<OwnerRecord>() == 64,
            "the order below is the layout's"
        )
    };
    let key = OwnerKey {
        cgroup: fields.u64()?,
        comm: fields.array()?,
        group: fields.u64()?,
    };
    let start_ns = fields.u64()?;
    let owner = Place {
        start_ns,
        tgid: fields.u32()?,
        slot: fields.u32()?,
    };
    Ok(Event::Owner { at_ns, key, owner })
}

fn change(at_ns: u64, fields: &mut Fields<'_>) -> Result<Event, Malformed> {
    const {
        assert!(
            size_of::<ChangeRecord>() == 24,
            "the order below is the layout's"
        )
    };
    let slot = fields.u32()?;
    let number = fields.u32()?;
    let fact = Fact::ALL.get(number as usize);
    let fact = *fact.ok_or(Malformed::Fact(number))?;
    Ok(Event::Change { at_ns, slot, fact })
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>());
        self.at += N;
        rest.copied().ok_or(Malformed::Short(self.bytes.len()))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }
}

/// A command name as text: up to its first zero byte.
pub fn comm_text(comm: &[u8; COMM]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(COMM);
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(64_u32.to_ne_bytes());
        bytes.extend(11_u64.to_ne_bytes());
        bytes.extend(b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(0_u64.to_ne_bytes());
        bytes.extend(13_u64.to_ne_bytes());
        bytes.extend(42_u32.to_ne_bytes());
        bytes.extend(3_u32.to_ne_bytes());
        bytes
    }

    #[test]
    fn an_owner_is_decoded() {
        let Ok(Event::Owner { at_ns, key, owner }) = decode(&record()) else {
            panic!("{:?}", decode(&record()));
        };
        assert_eq!(
            (at_ns, key.cgroup, comm_text(&key.comm).as_str()),
            (7, 11, "nginx")
        );
        assert_eq!(
            owner,
            Place {
                slot: 3,
                tgid: 42,
                start_ns: 13
            }
        );
    }

    /// A record of a change as the probes write it.
    fn change_record(at_ns: u64, slot: u32, fact: u32) -> Vec<u8> {
        let words = [1, 24, slot, fact];
        let words = words.into_iter().flat_map(u32::to_ne_bytes);
        at_ns.to_ne_bytes().into_iter().chain(words).collect()
    }

    #[test]
    fn cut_off_and_unknown_records_are_told_apart() {
        assert_eq!(decode(&record()[..63]), Err(Malformed::Short(63)));
        let mut unknown = record();
        unknown[8] = 9;
        assert_eq!(decode(&unknown), Err(Malformed::Kind(9)));
        let change = change_record(7, 3, Fact::ALL.len() as u32);
        assert_eq!(decode(&change[..23]), Err(Malformed::Short(23)));
        assert_eq!(decode(&change), Err(Malformed::Fact(12)));
    }

    #[test]
    fn a_record_that_says_it_is_shorter_than_its_kind_is_cut_off() {
        let mut change = change_record(7, 3, 0);
        change[12] = 16;
        assert_eq!(decode(&change[..16]), Err(Malformed::Short(16)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_change_is_decoded_whatever_the_transport_adds(
            at_ns: u64, slot: u32, number in 0..Fact::ALL.len(), padding: Vec<u8>,
        ) {
            let mut bytes = change_record(at_ns, slot, number as u32);
            bytes.extend(padding);
            let fact = Fact::ALL[number];
            prop_assert_eq!(decode(&bytes), Ok(Event::Change { at_ns, slot, fact }));
        }
    }
}
