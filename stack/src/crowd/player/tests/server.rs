//! A low-latency origin and a link, in virtual time: bodies share the rate of the moment.

use bytes::Bytes;

use super::super::{Answer, Player, Request};

/// Rungs of the simulated ladder: name and bits per second.
pub(super) const RUNGS: [(&str, f64); 3] = [("360p", 400e3), ("540p", 1_100e3), ("720p", 2_700e3)];
const SEGMENT_S: f64 = 2.0;
pub(crate) const PARTS: u64 = 10;
pub(crate) const PART_S: f64 = 0.2;
const STEP_S: f64 = 0.005;

/// What the link carries at a moment, bits per second.
pub(super) type Rate = fn(f64) -> f64;

pub(super) struct World {
    pub(super) now: f64,
    pub(super) low_latency: bool,
    pub(super) rtt_s: f64,
    pub(super) rate: Rate,
    /// No media is made after this moment for as long as the second says.
    pub(super) producer_pause: Option<(f64, f64)>,
    transfers: Vec<Transfer>,
    pub(super) requested: Vec<String>,
}

struct Transfer {
    id: u64,
    asked_at: f64,
    ready_at: f64,
    left_bits: f64,
    size: u64,
    text: Option<String>,
    path: String,
    query: String,
    head_at: Option<f64>,
}

impl World {
    pub(super) fn new(low_latency: bool, rate: Rate) -> Self {
        Self {
            now: 0.0,
            low_latency,
            rtt_s: 0.02,
            rate,
            producer_pause: None,
            transfers: Vec::new(),
            requested: Vec::new(),
        }
    }

    /// Runs a player until a moment.
    pub(super) fn run(&mut self, player: &mut Player, until: f64) {
        while self.now < until {
            for id in player.take_aborts() {
                self.transfers.retain(|transfer| transfer.id != id);
            }
            while let Some(request) = player.take_request() {
                self.accept(&request);
            }
            self.now += STEP_S;
            self.deliver(player);
            if player.deadline().is_some_and(|at| at <= self.now) {
                player.tick(self.now);
            }
        }
        player.tick(self.now);
    }

    fn accept(&mut self, request: &Request) {
        let path = request.url.path().to_owned();
        self.requested.push(path.clone());
        let query = request.url.query().unwrap_or_default().to_owned();
        let transfer = Transfer {
            id: request.id,
            asked_at: self.now,
            ready_at: f64::INFINITY,
            left_bits: f64::INFINITY,
            size: 0,
            text: None,
            path,
            query,
            head_at: None,
        };
        self.transfers.push(transfer);
    }

    fn deliver(&mut self, player: &mut Player) {
        let (now, made) = (self.now, self.made(self.now));
        for index in 0..self.transfers.len() {
            if self.transfers[index].ready_at.is_infinite() {
                self.respond(index, made);
            }
        }
        let active = self
            .transfers
            .iter()
            .filter(|transfer| transfer.ready_at <= now)
            .count();
        let share = (self.rate)(now) * STEP_S / active.max(1) as f64;
        let mut done = Vec::new();
        for transfer in self
            .transfers
            .iter_mut()
            .filter(|transfer| transfer.ready_at <= now)
        {
            let head_at = *transfer.head_at.get_or_insert(now);
            transfer.left_bits -= share;
            let loaded = transfer
                .size
                .saturating_sub((transfer.left_bits.max(0.0) / 8.0) as u64);
            player.progress(transfer.id, head_at - transfer.asked_at, loaded);
            if transfer.left_bits <= 0.0 {
                done.push(transfer.id);
            }
        }
        for id in done {
            let place = self.transfers.iter().position(|transfer| transfer.id == id);
            let Some(transfer) = place.map(|place| self.transfers.remove(place)) else {
                continue;
            };
            let answer = Answer {
                first_byte_s: transfer.head_at.unwrap_or(now) - transfer.asked_at,
                took_s: now - transfer.asked_at,
                bytes: transfer.size,
                text: Bytes::from(transfer.text.unwrap_or_default()),
            };
            player.answer(now, id, &answer);
        }
    }

    /// Parts made until a moment; the stream has been on for a minute when the player comes.
    fn made(&self, now: f64) -> u64 {
        let lost = self
            .producer_pause
            .map_or(0.0, |(from, length)| (now - from).clamp(0.0, length));
        ((now - lost + 60.0) / PART_S + 1e-9) as u64
    }

    fn respond(&mut self, index: usize, made: u64) {
        let transfer = &mut self.transfers[index];
        let (text, size) = if transfer.path.ends_with("master.m3u8") {
            (Some(master()), None)
        } else if transfer.path.ends_with(".m3u8") {
            let query = transfer.query.as_str();
            let asked = number(query, "_HLS_msn").map(|segment| {
                segment * PARTS + number(query, "_HLS_part").map_or(PARTS, |part| part + 1)
            });
            if asked.is_some_and(|asked| asked > made) {
                return;
            }
            (Some(media(made, self.low_latency)), None)
        } else {
            (None, Some(object_bytes(&transfer.path)))
        };
        transfer.size = size.unwrap_or_else(|| text.as_ref().map_or(0, |text| text.len() as u64));
        transfer.left_bits = transfer.size as f64 * 8.0;
        transfer.text = text;
        transfer.ready_at = (transfer.asked_at + self.rtt_s).max(self.now + self.rtt_s / 2.0);
    }
}

pub(crate) fn number(query: &str, name: &str) -> Option<u64> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

pub(crate) fn object_bytes(path: &str) -> u64 {
    if path.contains("init") {
        return 800;
    }
    let bps = RUNGS
        .iter()
        .find(|(name, _)| path.contains(name))
        .map_or(96e3, |(_, bps)| bps * 0.95);
    let seconds = if path.contains("part") {
        PART_S
    } else {
        SEGMENT_S
    };
    (bps * seconds / 8.0) as u64
}

pub(crate) fn master() -> String {
    let mut text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"audio/index.m3u8\"\n".to_owned();
    for (name, bps) in RUNGS {
        text.push_str(&format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={bps},AUDIO=\"a\"\n{name}/index.m3u8\n"
        ));
    }
    text
}

pub(crate) fn media(made: u64, low_latency: bool) -> String {
    let open = made / PARTS;
    let first = open - 8;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"init.mp4\"\n"
    );
    if low_latency {
        text.push_str("#EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n");
    }
    for segment in first..=open {
        let parts = if segment < open { PARTS } else { made % PARTS };
        for part in (0..parts).filter(|_| low_latency && segment + 2 >= open) {
            let independent = if part == 0 { ",INDEPENDENT=YES" } else { "" };
            text.push_str(&format!(
                "#EXT-X-PART:DURATION={PART_S},URI=\"part-{segment}-{part}.m4s\"{independent}\n"
            ));
        }
        if segment < open {
            text.push_str(&format!("#EXTINF:{SEGMENT_S},\nsegment-{segment}.m4s\n"));
        }
    }
    text
}
