//! The proof of identity: SCRAM-SHA-256, MD5, clear text.

use super::error::WireError;
use super::socket::Socket;
use crate::connect::Endpoint;
use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

/// Answers the server's requests until it says that all is well.
pub(super) async fn authenticate(socket: &mut Socket, endpoint: &Endpoint) -> Result<(), WireError> {
    loop {
        let (tag, mut body) = socket.message().await?;
        match tag {
            b'R' => {}
            b'E' => return Err(WireError::from_body(&body)),
            // Notices and the choice of a lower protocol version may come at any time.
            b'N' | b'v' => continue,
            other => return Err(WireError::unexpected(other, "authenticating")),
        }
        match body.try_get_i32().map_err(|_| cut_off())? {
            0 => return Ok(()),
            3 => send_password(socket, password(endpoint)?).await?,
            5 => {
                let salt: [u8; 4] = body.as_ref().try_into().map_err(|_| cut_off())?;
                let hash = md5_hash(endpoint.user().as_bytes(), password(endpoint)?, salt);
                send_password(socket, hash.as_bytes()).await?;
            }
            10 => scram(socket, endpoint, &body).await?,
            other => {
                return Err(WireError::Auth(format!(
                    "the server asks for authentication method {other}; scram-sha-256, md5, password and trust are known"
                )));
            }
        }
    }
}

fn cut_off() -> WireError {
    WireError::Protocol("an authentication request is cut off".into())
}

fn password(endpoint: &Endpoint) -> Result<&[u8], WireError> {
    endpoint
        .config
        .get_password()
        .ok_or_else(|| WireError::Auth("the server asks for a password and `url` holds none".into()))
}

async fn send_password(socket: &mut Socket, password: &[u8]) -> Result<(), WireError> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message)?;
    socket.write(&message).await
}

async fn scram(socket: &mut Socket, endpoint: &Endpoint, mechanisms: &Bytes) -> Result<(), WireError> {
    if !mechanisms.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
        return Err(WireError::Auth("the server offers no SCRAM-SHA-256".into()));
    }
    // Channel binding is left to the SQL connection; `n` tells the server so, and is no downgrade that it would refuse.
    let mut scram = ScramSha256::new(password(endpoint)?, ChannelBinding::unsupported());
    let mut message = BytesMut::new();
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut message)?;
    socket.write(&message).await?;
    let challenge = sasl_answer(socket, 11).await?;
    scram.update(&challenge).map_err(|error| WireError::Auth(error.to_string()))?;
    message.clear();
    frontend::sasl_response(scram.message(), &mut message)?;
    socket.write(&message).await?;
    let proof = sasl_answer(socket, 12).await?;
    // The server proves that it knows the password too.
    scram.finish(&proof).map_err(|error| WireError::Auth(error.to_string()))
}

async fn sasl_answer(socket: &mut Socket, wanted: i32) -> Result<Bytes, WireError> {
    loop {
        let (tag, mut body) = socket.message().await?;
        match tag {
            b'R' if body.try_get_i32().map_err(|_| cut_off())? == wanted => return Ok(body),
            b'E' => return Err(WireError::from_body(&body)),
            b'N' => {}
            other => return Err(WireError::unexpected(other, "authenticating by SCRAM")),
        }
    }
}
