//! Cuts a byte stream of fragmented MP4 (ISO/IEC 14496-12) into its initialization segment and its
//! fragments (`moof` + `mdat`). The bytes come from outside: every size is checked against a bound
//! before anything is kept, and every refusal has a name.

use bytes::{Bytes, BytesMut};
use mp4_atom::{Atom as _, Decode as _, FourCC, Header, Moof, Moov};

mod nesting;
#[cfg(test)]
pub(crate) mod tests;

/// Why a stream is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    /// A size field that cannot be.
    #[error("box '{0}' is smaller than its own header or has no size")]
    BadSize(FourCC),
    /// A box above its bound.
    #[error("box '{kind}' has {size} bytes, the limit is {limit}")]
    Oversized {
        /// Four-character code.
        kind: FourCC,
        /// As the box says, in bytes.
        size: usize,
        /// Bound in bytes.
        limit: usize,
    },
    /// A box whose content cannot be read.
    #[error("box '{kind}' cannot be read: {why}")]
    Malformed {
        /// Four-character code.
        kind: FourCC,
        /// In the parser's words.
        why: String,
    },
    /// Boxes in boxes, more than a stack should hold.
    #[error("box '{0}' holds boxes in boxes, more than {max} deep", max = nesting::DEEPEST)]
    TooDeep(FourCC),
    /// Media before `moov`.
    #[error("a fragment came before the initialization segment (ftyp, moov)")]
    NoInit,
    /// An initialization segment without anything to play.
    #[error("the initialization segment has no usable track: {0}")]
    NoTrack(&'static str),
    /// `mdat` without `moof`, or two `moof` in a row.
    #[error("moof and mdat do not alternate")]
    Unpaired,
    /// A fragment whose times cannot be used.
    #[error("fragment without usable times: {0}")]
    BadTimes(&'static str),
    /// More media than may be kept, before there was a segment of it.
    #[error("more media in the first segment than half of ring_bytes = {0}")]
    TooMuch(usize),
    /// The stream ended inside a box.
    #[error("the stream ended inside a box, with {0} bytes of it")]
    Truncated(usize),
}

impl Fault {
    /// Short name for counts.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BadSize(_) => "bad_size",
            Self::Oversized { .. } => "oversized",
            Self::Malformed { .. } => "malformed",
            Self::TooDeep(_) => "too_deep",
            Self::NoInit => "no_init",
            Self::NoTrack(_) => "no_track",
            Self::Unpaired => "unpaired",
            Self::BadTimes(_) => "bad_times",
            Self::TooMuch(_) => "too_much",
            Self::Truncated(_) => "truncated",
        }
    }
}

/// Bounds in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of the boxes before the first fragment together, of each `moof`, and of boxes passed over.
    pub(crate) header: usize,
    /// Of each `mdat`.
    pub(crate) media: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 1 << 20,
            media: 16 << 20,
        }
    }
}

/// What a stream is made of.
#[derive(Debug)]
pub(crate) enum Piece {
    /// `ftyp` and `moov`, as they came.
    Init(Bytes, Box<Moov>),
    /// One `moof` with its `mdat`, as they came.
    Fragment(Fragment),
}

/// One `moof` with its `mdat`.
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) moof: Moof,
    /// Both boxes, `moof` first.
    pub(crate) bytes: Bytes,
}

/// Cuts what is [pushed](Self::push) into [pieces](Self::next).
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    limits: Limits,
    buffer: BytesMut,
    /// Boxes of the initialization segment while it is incomplete.
    init: BytesMut,
    moof: Option<(Moof, Bytes)>,
    started: bool,
}

impl Splitter {
    /// An empty one.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes bytes in any cut. What it holds is bounded by the limits plus one `bytes`, provided
    /// that [`next`](Self::next) is called until it gives nothing.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete piece.
    ///
    /// # Errors
    /// If the stream cannot be used any further.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Fault> {
        while let Some((kind, bytes)) = self.next_box()? {
            if let Some(piece) = self.take(kind, bytes)? {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// To be called when no more bytes come.
    ///
    /// # Errors
    /// If the stream ended inside a box or between a `moof` and its `mdat`.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        let left = self.buffer.len() + self.moof.as_ref().map_or(0, |(_, bytes)| bytes.len());
        if left == 0 {
            Ok(())
        } else {
            Err(Fault::Truncated(left))
        }
    }

    fn next_box(&mut self) -> Result<Option<(FourCC, Bytes)>, Fault> {
        let Some((kind, size)) = peek(&self.buffer)? else {
            return Ok(None);
        };
        let limit = if kind == MDAT {
            self.limits.media
        } else {
            self.limits.header
        };
        if size > limit {
            return Err(Fault::Oversized { kind, size, limit });
        }
        if self.buffer.len() < size {
            self.buffer.reserve(size - self.buffer.len());
            return Ok(None);
        }
        Ok(Some((kind, self.buffer.split_to(size).freeze())))
    }

    fn take(&mut self, kind: FourCC, bytes: Bytes) -> Result<Option<Piece>, Fault> {
        if self.moof.is_some() && kind != MDAT {
            return Err(Fault::Unpaired);
        }
        if kind == Moov::KIND {
            check_nesting(kind, &bytes)?;
            let moov = Moov::decode(&mut &bytes[..]).map_err(|error| malformed(kind, &error))?;
            self.init.extend_from_slice(&bytes);
            self.started = true;
            return Ok(Some(Piece::Init(
                self.init.split().freeze(),
                Box::new(moov),
            )));
        }
        if kind == FTYP {
            // A new one begins a new initialization segment.
            self.init.clear();
            self.init.extend_from_slice(&bytes);
        } else if kind == Moof::KIND {
            if !self.started {
                return Err(Fault::NoInit);
            }
            check_nesting(kind, &bytes)?;
            let moof = Moof::decode(&mut &bytes[..]).map_err(|error| malformed(kind, &error))?;
            self.moof = Some((moof, bytes));
        } else if kind == MDAT {
            let (moof, head) = self.moof.take().ok_or(Fault::Unpaired)?;
            let mut whole = BytesMut::with_capacity(head.len() + bytes.len());
            whole.extend_from_slice(&head);
            whole.extend_from_slice(&bytes);
            return Ok(Some(Piece::Fragment(Fragment {
                moof,
                bytes: whole.freeze(),
            })));
        }
        // What else an encoder may write (styp, sidx, prft, mfra, ...) is not needed to play.
        Ok(None)
    }
}

const FTYP: FourCC = FourCC::new(b"ftyp");
const MDAT: FourCC = FourCC::new(b"mdat");

fn check_nesting(kind: FourCC, bytes: &[u8]) -> Result<(), Fault> {
    if nesting::is_deep(bytes) {
        return Err(Fault::TooDeep(kind));
    }
    Ok(())
}

fn malformed(kind: FourCC, error: &mp4_atom::Error) -> Fault {
    Fault::Malformed {
        kind,
        why: error.to_string(),
    }
}

/// Kind and whole size of the box at the start of `bytes`, once its header is there.
fn peek(bytes: &[u8]) -> Result<Option<(FourCC, usize)>, Fault> {
    // Read apart from the crate's `decode_maybe`, for which a size of 0 is no error.
    let mut rest = bytes;
    let (Some(size), Some(kind)) = (bytes.first_chunk::<4>(), bytes.get(4..8)) else {
        return Ok(None);
    };
    if *size == [0, 0, 0, 1] && bytes.len() < 16 {
        return Ok(None);
    }
    let kind = kind
        .try_into()
        .map_or(FourCC::new(b"????"), |kind: [u8; 4]| FourCC::new(&kind));
    let header = Header::decode(&mut rest).map_err(|_| Fault::BadSize(kind))?;
    let body = header.size.ok_or(Fault::BadSize(kind))?;
    let size = body
        .checked_add(bytes.len() - rest.len())
        .ok_or(Fault::BadSize(kind))?;
    Ok(Some((kind, size)))
}
