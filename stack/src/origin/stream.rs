//! Live streams by name. One writer renders what all readers share; readers wait on a watch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

use super::playlist::{self, Report, Variant};
use super::timeline::Timeline;

/// A rendition at one moment, rendered once for all who ask.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) timeline: Timeline,
    pub(crate) playlist: Bytes,
    /// What `_HLS_skip` gets; nothing where there is too little to skip.
    pub(crate) delta: Option<Bytes>,
}

/// One rendition of a stream.
#[derive(Debug)]
pub(crate) struct Rendition {
    pub(crate) variant: Variant,
    /// Whether every segment begins with an independent picture.
    pub(crate) independent: bool,
    view: watch::Sender<Arc<View>>,
}

impl Rendition {
    /// What it is now, and word of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }
}

/// A stream that can be watched.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    /// Part of every entity tag, so that a tag never outlives the stream that it is of.
    pub(crate) tag: u64,
    pub(crate) master: Bytes,
    pub(crate) renditions: Vec<Rendition>,
}

impl Stream {
    /// A rendition by the name of its rung.
    pub(crate) fn rendition(&self, rung: &str) -> Option<&Rendition> {
        self.renditions
            .iter()
            .find(|rendition| rendition.variant.rung == rung)
    }

    /// Whether nothing more will come.
    pub(crate) fn ended(&self) -> bool {
        self.renditions
            .iter()
            .all(|rendition| rendition.view.borrow().timeline.ended())
    }
}

/// The one who writes a stream.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) stream: Arc<Stream>,
    /// One for each rendition, in the same order.
    pub(crate) timelines: Vec<Timeline>,
}

/// A rendition to be, as a [`Publisher`] begins it.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) variant: Variant,
    pub(crate) independent: bool,
    pub(crate) timeline: Timeline,
}

impl Publisher {
    /// Begins a stream. Those without a resolution are sound for the others.
    pub(crate) fn new(name: &str, tag: u64, renditions: Vec<Begin>) -> Self {
        let independent = renditions.iter().all(|begin| begin.independent);
        let all = renditions.iter().map(|begin| &begin.variant);
        let (mut pictures, sound): (Vec<_>, Vec<_>) = all
            .cloned()
            .partition(|variant| variant.resolution.is_some());
        pictures.sort_by_key(|variant| std::cmp::Reverse(variant.peak));
        let master = if pictures.is_empty() {
            playlist::write_master(&sound, None, independent)
        } else {
            playlist::write_master(&pictures, sound.first(), independent)
        };
        let (timelines, renditions) = renditions
            .into_iter()
            .map(|begin| {
                let view = View {
                    timeline: begin.timeline.clone(),
                    playlist: Bytes::new(),
                    delta: None,
                };
                let rendition = Rendition {
                    variant: begin.variant,
                    independent: begin.independent,
                    view: watch::Sender::new(Arc::new(view)),
                };
                (begin.timeline, rendition)
            })
            .unzip();
        let mut publisher = Self {
            stream: Arc::new(Stream {
                name: name.to_owned(),
                tag,
                master: master.into(),
                renditions,
            }),
            timelines,
        };
        publisher.publish();
        publisher
    }

    /// Shows the timelines as they are now to all who watch.
    pub(crate) fn publish(&mut self) {
        let renditions = &self.stream.renditions;
        for (index, (rendition, timeline)) in renditions.iter().zip(&self.timelines).enumerate() {
            let others = renditions
                .iter()
                .zip(&self.timelines)
                .enumerate()
                .filter(|(other, _)| *other != index);
            let reports: Vec<Report> = others
                .filter_map(|(_, (rendition, timeline))| {
                    Some(Report {
                        rung: rendition.variant.rung.clone(),
                        last: timeline.last()?,
                    })
                })
                .collect();
            let (playlist, delta) =
                playlist::write_media(timeline, rendition.independent, &reports);
            rendition.view.send_replace(Arc::new(View {
                timeline: timeline.clone(),
                playlist: playlist.into(),
                delta: delta.map(Bytes::from),
            }));
        }
    }
}

/// All streams that can be watched. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<RwLock<BTreeMap<String, Arc<Stream>>>>);

impl Streams {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Stream>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Shows a stream, in place of one of the same name.
    pub(crate) fn show(&self, stream: Arc<Stream>) {
        let mut streams = self.0.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.name.clone(), stream);
    }

    /// Takes a stream away, unless another one has come under its name.
    pub(crate) fn hide(&self, stream: &Arc<Stream>) {
        let mut streams = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if streams
            .get(&stream.name)
            .is_some_and(|shown| Arc::ptr_eq(shown, stream))
        {
            streams.remove(&stream.name);
        }
    }
}

/// Whether a name may stand in a URL and a label as it is: 1 to 64 letters, digits, `-`, `_`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
