// Plays one stream with hls.js and tells what happens, each with the wall clock in milliseconds.
// `tell` is a binding of the DevTools protocol. Options come in as `window.options`.
(() => {
  const options = window.options;
  let opened = performance.now();
  const say = (kind, more) =>
    tell(JSON.stringify({ kind, wall_ms: performance.timeOrigin + performance.now(), ...more }));
  const video = document.createElement("video");
  video.muted = true;
  video.autoplay = true;
  document.body.append(video);
  const hls = (window.hls = new Hls({
    ...options.config,
    cmcd: { sessionId: options.session, version: 2 },
  }));
  let started = false, stalled = false, sought = false, bytes = 0;
  const latency = () => (hls.latestLevelDetails?.live ? hls.latency : null);
  const ahead = () => {
    for (let i = 0; i < video.buffered.length; i++) {
      if (video.buffered.start(i) <= video.currentTime + 0.1 && video.currentTime <= video.buffered.end(i)) {
        return video.buffered.end(i) - video.currentTime;
      }
    }
    return 0;
  };
  const bps = (level) => hls.levels[level]?.maxBitrate ?? 0;
  video.addEventListener("waiting", () => {
    if (started && !stalled && !sought && !video.seeking && !video.paused) {
      stalled = true;
      say("stall_begin", { playhead_s: video.currentTime });
    }
  });
  video.addEventListener("seeking", () => {
    if (window.userSeeks && stalled) {
      stalled = false;
      say("stall_end", { playhead_s: video.currentTime, recovered: false });
    }
    if (window.userSeeks) sought = true;
    window.userSeeks = false;
  });
  const play = () => {
    if (!started && video.currentTime >= 0 && !video.paused) {
      started = true;
      say("startup", { ms: performance.now() - opened, latency_s: latency(), rung_bps: bps(hls.loadLevel) });
    } else if (stalled) {
      stalled = false;
      say("stall_end", { playhead_s: video.currentTime, recovered: true });
    } else if (sought) {
      sought = false;
      say("seeked", {});
    }
  };
  video.addEventListener("playing", play);
  // The zero of startup: asking for the multivariant playlist, as with the models.
  hls.once(Hls.Events.MANIFEST_LOADING, () => (opened = performance.now()));
  hls.on(Hls.Events.FRAG_LOADED, (_, { frag, part }) => (bytes += (part ?? frag).stats.loaded));
  hls.on(Hls.Events.LEVEL_SWITCHING, (_, { level }) => {
    if (window.level !== undefined) say("switch", { from_bps: bps(window.level), to_bps: bps(level) });
    window.level = level;
  });
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (error.fatal || !/bufferStalled|bufferNudge/.test(error.details)) {
      say("failure", { what: error.details, detail: `${error.reason ?? error.error ?? ""} ${error.response?.code ?? ""}` });
    }
    // What pages do about it: start over with loading.
    if (error.fatal && error.type === Hls.ErrorTypes.NETWORK_ERROR) setTimeout(() => hls.startLoad(), 1000);
    else if (error.fatal && error.type === Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
  });
  const level = () => {
    if (!started) return;
    say("level", {
      buffer_s: ahead(), playhead_s: video.currentTime, latency_s: latency(), bytes,
      estimate_bps: Math.round(hls.bandwidthEstimate || 0),
    });
    bytes = 0;
  };
  setInterval(level, 1000);
  window.act = (what, by) => {
    const at = video.currentTime;
    if (!started) return;
    if (what === "pause" || what === "seek") {
      if (stalled) {
        stalled = false;
        say("stall_end", { playhead_s: at, recovered: false });
      }
    }
    if (what === "pause") {
      say("pause", { playhead_s: at });
      video.pause();
    } else if (what === "resume") {
      say("resume", { playhead_s: at });
      sought = true; // waiting right after is the pause's doing
      video.play();
    } else if (what === "seek") {
      const to = Math.max(0, Math.min(at + by, hls.liveSyncPosition ?? video.duration - 1));
      say("seek", { from_s: at, to_s: to });
      window.userSeeks = true;
      video.currentTime = to;
    } else if (what === "leave") {
      level();
      if (stalled) say("stall_end", { playhead_s: at, recovered: false });
    }
  };
  hls.loadSource(options.url);
  hls.attachMedia(video);
})();
