//! Takes what waits to Redis, many rooms in one pipeline. What failed is repeated until it is in or
//! refused for good; meanwhile the queue before it is bounded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};
use tokio_util::sync::CancellationToken;

use super::{Inner, fields};
use crate::chat::protocol::Tally;

/// KEYS: log, tally, by. ARGV: number of the batch, least revision before it, MAXLEN, number of
/// items, the items, then fields of the tally and what to add. Returns the last revision, or 0 if
/// the batch was in already.
const APPEND: &str = "
local seen = redis.call('GET', KEYS[3])
if seen and tonumber(seen) >= tonumber(ARGV[1]) then return 0 end
local rev = tonumber(ARGV[2])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest then rev = math.max(rev, tonumber(string.match(newest[1], '^%d+'))) end
local items = tonumber(ARGV[4])
for i = 1, items do
  local id = string.format('%.0f-0', rev + i)
  if i < items then redis.call('XADD', KEYS[1], id, 'i', ARGV[4 + i])
  else redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], id, 'i', ARGV[4 + i]) end
end
for i = 5 + items, #ARGV, 2 do redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('SET', KEYS[3], ARGV[1], 'EX', 3600)
return rev + items
";

/// Between two tries while Redis is away, growing.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
];

/// A batch with its number, so that it can be repeated.
struct Call {
    room: Box<str>,
    number: u64,
    items: Vec<Bytes>,
}

pub(super) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    // Unique to this start: numbers begin anew.
    let started = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_nanos());
    let writer = format!("{}-{started:x}", inner.config.gateway);
    let script = Script::new(APPEND);
    let (mut number, mut calls, mut failures) = (0, Vec::new(), 0_usize);
    while !stop.is_cancelled() {
        if calls.is_empty() {
            calls = take(&inner, &mut number);
        }
        if calls.is_empty() {
            tokio::select! {
                () = inner.filled.notified() => continue,
                () = stop.cancelled() => return,
            }
        }
        match send(&inner, &script, &writer, &calls).await {
            Ok(results) => {
                let before = calls.len();
                calls = settle(&inner, calls, results);
                failures = if calls.len() < before {
                    0
                } else {
                    failures + 1
                };
            }
            Err(error) => {
                failures += 1;
                inner.fail("append", &error);
            }
        }
        if !calls.is_empty() {
            let pause = PAUSES
                .get(failures.saturating_sub(1))
                .or(PAUSES.last())
                .copied()
                .unwrap_or_default();
            tokio::time::sleep(pause).await;
        }
    }
}

/// Up to `batch_items` items, one call for each room.
fn take(inner: &Inner, number: &mut u64) -> Vec<Call> {
    let (mut calls, mut items): (Vec<Call>, usize) = (Vec::new(), 0);
    let mut queue = inner.queue();
    while let Some(waiting) = queue.waiting.front_mut() {
        let free = inner.config.batch_items - items;
        if free == 0 {
            break;
        }
        let rest = waiting.items.split_off(free.min(waiting.items.len()));
        let taken = std::mem::replace(&mut waiting.items, rest);
        items += taken.len();
        match calls.iter_mut().find(|call| call.room == waiting.room) {
            Some(call) => call.items.extend(taken),
            None => {
                *number += 1;
                calls.push(Call {
                    room: waiting.room.clone(),
                    number: *number,
                    items: taken,
                });
            }
        }
        if waiting.items.is_empty() {
            queue.waiting.pop_front();
        }
    }
    calls
}

async fn send(
    inner: &Inner,
    script: &Script,
    writer: &str,
    calls: &[Call],
) -> RedisResult<Vec<RedisResult<u64>>> {
    let mut pipeline = Pipeline::with_capacity(calls.len());
    pipeline.ignore_errors();
    for call in calls {
        let mut sums = Tally::default();
        for item in &call.items {
            sums.count(item, usize::MAX);
        }
        let command = pipeline.cmd("EVALSHA").arg(script.get_hash()).arg(3);
        command
            .arg(inner.key(&call.room, "log"))
            .arg(inner.key(&call.room, "tally"));
        command
            .arg(inner.key(&call.room, &format!("by:{writer}")))
            .arg(call.number)
            .arg(inner.known(&call.room));
        command.arg(inner.config.retain).arg(call.items.len());
        for item in &call.items {
            command.arg(item.as_ref());
        }
        for (field, n) in fields(&sums) {
            command.arg(field).arg(n);
        }
    }
    let mut connection = inner.manager.clone();
    let results: Vec<RedisResult<u64>> = pipeline.query_async(&mut connection).await?;
    let unknown = |result: &RedisResult<u64>| matches!(result, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript));
    if results.iter().any(unknown) {
        script.load_async(&mut connection).await?;
    }
    Ok(results)
}

/// Counts what is in or lost; returns what is to be repeated.
fn settle(inner: &Inner, calls: Vec<Call>, results: Vec<RedisResult<u64>>) -> Vec<Call> {
    let mut again = Vec::new();
    for (call, result) in calls.into_iter().zip(results) {
        let items = call.items.len();
        match result {
            Ok(_) => {
                inner.metrics.store(items as u64);
            }
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                again.push(call);
                continue;
            }
            Err(error) if passes(&error) => {
                inner.fail("append", &error);
                again.push(call);
                continue;
            }
            Err(error) => {
                inner.fail("append", &error);
                inner.metrics.storage_lost.inc_by(items as u64);
            }
        }
        inner.queue().items -= items;
        inner.metrics.storage_queue.dec_by(items as i64);
    }
    again
}

/// Whether the same call may succeed later: all but what is wrong with the call itself or its key.
fn passes(error: &RedisError) -> bool {
    !matches!(
        error.code(),
        Some("ERR" | "WRONGTYPE" | "NOPERM" | "CROSSSLOT")
    )
}
