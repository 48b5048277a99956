//! Reads what any gateway added to the rooms in memory here, delivers it in order, acknowledges it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{AsyncConnectionConfig, Pipeline, RedisError, RedisResult};
use tokio_util::sync::CancellationToken;

use super::{ANSWER_WITHIN, Inner, entry};
use crate::chat::protocol::Item;
use crate::chat::room::Room;

/// How long a read waits for something new; a room that is opened meanwhile interrupts it.
const WAIT: Duration = Duration::from_millis(250);
/// Entries of one room in one read.
const COUNT: usize = 1000;
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// The one consumer of the group: a gateway reads alone.
const CONSUMER: &str = "reader";

pub(super) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = follow(&inner, &stop).await {
            inner.fail("read_new", &error);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Reads on one connection until it fails.
async fn follow(inner: &Inner, stop: &CancellationToken) -> RedisResult<()> {
    // A read may wait for long; only then the answer is late.
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(WAIT + ANSWER_WITHIN));
    let mut connection = inner
        .client
        .get_multiplexed_async_connection_with_config(&settings)
        .await?;
    let id: i64 = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut connection)
        .await?;
    inner.reader.store(id, Ordering::Relaxed);
    inner.metrics.health.mend("read_new");
    let mut joined = HashSet::new();
    while !stop.is_cancelled() {
        let rooms = rooms(inner);
        if rooms.is_empty() {
            tokio::select! {
                () = inner.followed.notified() => continue,
                () = stop.cancelled() => return Ok(()),
            }
        }
        joined.retain(|number| rooms.iter().any(|room| room.number == *number));
        for room in rooms
            .iter()
            .filter(|room| !joined.contains(&room.number))
            .collect::<Vec<_>>()
        {
            join(inner, &mut connection, room).await?;
            joined.insert(room.number);
        }
        match read(inner, &mut connection, &rooms, ">", Some(WAIT)).await {
            // Redis has lost the group, by a restart without its data or by hand.
            Err(error) if error.code() == Some("NOGROUP") => joined.clear(),
            result => _ = result?,
        }
    }
    Ok(())
}

fn rooms(inner: &Inner) -> Vec<Arc<Room>> {
    let mut rooms = inner.rooms();
    rooms.retain(|_, room| room.strong_count() > 0);
    rooms
        .values()
        .filter_map(std::sync::Weak::upgrade)
        .collect()
}

/// Makes the room's group if there is none, and delivers what was read but not acknowledged before.
async fn join(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    room: &Arc<Room>,
) -> RedisResult<()> {
    let after = format!("{}-0", room.rev());
    let made: RedisResult<()> = redis::cmd("XGROUP")
        .arg("CREATE")
        .arg(inner.key(&room.name, "log"))
        .arg(&inner.config.gateway)
        .arg(after)
        .arg("MKSTREAM")
        .query_async(connection)
        .await;
    match made {
        Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
        Err(_) | Ok(()) => {}
    }
    while read(inner, connection, std::slice::from_ref(room), "0", None).await? > 0 {}
    Ok(())
}

/// One read, delivery and acknowledgement; returns the number of entries.
async fn read(
    inner: &Inner,
    connection: &mut MultiplexedConnection,
    rooms: &[Arc<Room>],
    from: &str,
    wait: Option<Duration>,
) -> RedisResult<usize> {
    let mut command = redis::cmd("XREADGROUP");
    command
        .arg("GROUP")
        .arg(&inner.config.gateway)
        .arg(CONSUMER)
        .arg("COUNT")
        .arg(COUNT);
    if let Some(wait) = wait {
        command.arg("BLOCK").arg(wait.as_millis() as u64);
    }
    command.arg("STREAMS");
    for room in rooms {
        command.arg(inner.key(&room.name, "log"));
    }
    for _ in rooms {
        command.arg(from);
    }
    let Some(reply): Option<StreamReadReply> = command.query_async(connection).await? else {
        return Ok(0);
    };
    let mut acknowledge = Pipeline::new();
    let mut count = 0;
    for stream in reply.keys {
        let Some(room) = rooms
            .iter()
            .find(|room| inner.key(&room.name, "log") == stream.key)
        else {
            continue;
        };
        if stream.ids.is_empty() {
            continue;
        }
        count += stream.ids.len();
        let ids: Vec<String> = stream.ids.iter().map(|id| id.id.clone()).collect();
        let entries: Vec<(u64, Bytes)> = stream.ids.into_iter().filter_map(entry).collect();
        deliver(room, &entries).await;
        acknowledge
            .cmd("XACK")
            .arg(&stream.key)
            .arg(&inner.config.gateway)
            .arg(ids)
            .ignore();
    }
    if count > 0 {
        acknowledge
            .query_async::<()>(connection)
            .await
            .inspect_err(|error: &RedisError| inner.fail("acknowledge", error))?;
    }
    Ok(count)
}

async fn deliver(room: &Arc<Room>, entries: &[(u64, Bytes)]) {
    for run in entries.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
        let Some((first, oldest)) = run.first() else {
            continue;
        };
        let items = run.iter().map(|(_, item)| item.clone()).collect();
        room.deliver(*first, items, taken_at(oldest)).await;
    }
}

/// When an item was taken, by this or another gateway, on this one's clock.
fn taken_at(item: &[u8]) -> Instant {
    let now_ms = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as u64);
    let age_ms = serde_json::from_slice::<Item<'_>>(item)
        .map_or(0, |item| now_ms.saturating_sub(item.at_ms));
    let now = Instant::now();
    now.checked_sub(Duration::from_millis(age_ms))
        .unwrap_or(now)
}
