//! A player of an arena that writes the bytes of its protocol by hand, as the documentation says.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::proto::Assignment;
use crate::server::SOON;

pub(crate) const WELCOME: u8 = 0x81;
pub(crate) const SNAPSHOT: u8 = 0x82;
pub(crate) const ENDED: u8 = 0x83;

pub(crate) struct Player(pub(crate) WebSocketStream<TcpStream>);

/// What an arena said.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Message(Vec<u8>),
    Closed(u16),
    /// Without a word.
    Cut,
}

impl Player {
    /// Connected, without a Hello.
    pub(crate) async fn connect(connection: &str) -> Self {
        let address = connection
            .strip_prefix("ws://")
            .unwrap()
            .trim_end_matches('/');
        Self::on(TcpStream::connect(address).await.unwrap(), connection).await
    }

    /// On a connection made before.
    pub(crate) async fn on(stream: TcpStream, connection: &str) -> Self {
        Self(
            tokio_tungstenite::client_async(connection, stream)
                .await
                .unwrap()
                .0,
        )
    }

    /// Connected and welcome.
    pub(crate) async fn join(assignment: &Assignment) -> Self {
        let mut player = Self::connect(&assignment.connection).await;
        player.send(&hello(&assignment.token)).await;
        match player.hear().await {
            Heard::Message(bytes) if bytes[0] == WELCOME => player,
            other => panic!("want a welcome, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0
            .send(Message::Binary(bytes.to_vec().into()))
            .await
            .unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            return match time::timeout(SOON, self.0.next())
                .await
                .expect("nothing heard in time")
            {
                Some(Ok(Message::Binary(bytes))) => Heard::Message(bytes.to_vec()),
                Some(Ok(Message::Close(Some(frame)))) => Heard::Closed(frame.code.into()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(_) | Err(_)) | None => Heard::Cut,
            };
        }
    }

    /// The tick and base of the next snapshot.
    pub(crate) async fn snapshot(&mut self) -> (u32, u32) {
        match self.hear().await {
            Heard::Message(bytes) if bytes[0] == SNAPSHOT => (number(&bytes, 1), number(&bytes, 5)),
            other => panic!("want a snapshot, got {other:?}"),
        }
    }

    /// Reads on until something other than a snapshot comes.
    pub(crate) async fn hear_end(&mut self) -> Heard {
        loop {
            match self.hear().await {
                Heard::Message(bytes) if bytes[0] == SNAPSHOT => {}
                other => return other,
            }
        }
    }
}

pub(crate) fn hello(token: &str) -> Vec<u8> {
    let mut bytes = vec![0x01, 1, token.len() as u8];
    bytes.extend_from_slice(token.as_bytes());
    bytes
}

/// An Input of one intent.
pub(crate) fn input(ack: u32, seq: u32, move_x: i8) -> Vec<u8> {
    let mut bytes = vec![0x02];
    bytes.extend_from_slice(&ack.to_le_bytes());
    bytes.extend_from_slice(&seq.to_le_bytes());
    bytes.extend_from_slice(&[1, move_x as u8, 0, 0]);
    bytes
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
