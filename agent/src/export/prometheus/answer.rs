//! The body of an answer to a scrape: encoded while it is sent, within a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;

use super::{Encoder, add_time};
use crate::metrics::ExportCounts;

/// Encodes piece by piece, lets other tasks run in between, and counts.
pub(super) struct Answer {
    encoder: Encoder,
    /// Held until the answer is sent or given up.
    _permit: OwnedSemaphorePermit,
    counts: Arc<ExportCounts>,
    deadline: Instant,
    /// Whether others had their turn since the last piece.
    yielded: bool,
}

impl Answer {
    pub(super) fn new(
        encoder: Encoder,
        permit: OwnedSemaphorePermit,
        counts: Arc<ExportCounts>,
        deadline: Instant,
    ) -> Self {
        Self {
            encoder,
            _permit: permit,
            counts,
            deadline,
            yielded: true,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let began = Instant::now();
        // The connection's own timeout ends a client that reads nothing, this one that reads slowly.
        if began > self.deadline {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly");
            return Poll::Ready(Some(Err(error)));
        }
        if !std::mem::replace(&mut self.yielded, false) {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.encoder.next();
        add_time(&self.counts.scrape_ns, began);
        if piece.is_none() {
            ExportCounts::add(&self.counts.scrapes, 1);
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
