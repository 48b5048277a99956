//! What every sender over HTTP needs: address, TLS, headers with secrets, pauses between tries.

pub(crate) mod address;
pub(crate) mod header;
pub(crate) mod pause;
pub(crate) mod post;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod tls;
