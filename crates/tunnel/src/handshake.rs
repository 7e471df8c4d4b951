//! The control stream's beginning: the client proves its key and shows its token, the relay
//! welcomes or refuses it. Afterwards both hold a [`Control`].

use crate::session::{Ended, RecvHalf, SendHalf, Session};
use crate::windows;
use bytes::BytesMut;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::close::Close;
use wire::{Frame, FrameDecoder, Hello, Message, Refused, RefusedReason, Welcome};

/// The client's Ed25519 key (RFC 8032), made on first run. It owns the client's names.
pub struct ClientKey(Ed25519KeyPair);

impl ClientKey {
    /// A new key as PKCS#8, to be kept by the caller and read by [`ClientKey::from_pkcs8`].
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Vec<u8>, ring::error::Unspecified> {
        Ok(
            Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())?
                .as_ref()
                .to_vec(),
        )
    }

    /// Reads a key written by [`ClientKey::generate`]; `None` when it is damaged.
    pub fn from_pkcs8(bytes: &[u8]) -> Option<ClientKey> {
        Ed25519KeyPair::from_pkcs8(bytes).ok().map(ClientKey)
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    fn prove(&self, exporter: &[u8; 32]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.0.sign(&proven(exporter)).as_ref());
        out
    }
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKey(…)")
    }
}

fn proven(exporter: &[u8; 32]) -> Vec<u8> {
    [wire::PROOF_LABEL, exporter].concat()
}

/// Why the two did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The relay refused.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// The peer broke the protocol.
    #[error("the other side does not speak this protocol: {0}")]
    Protocol(String),
    /// The session ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The peer said nothing for [`windows::HANDSHAKE`].
    #[error("the other side said nothing for {} s", windows::HANDSHAKE.as_secs())]
    Silent,
}

/// The control stream after the handshake.
#[derive(Debug)]
pub struct Control {
    session: Session,
    send: SendHalf,
    recv: RecvHalf,
    decoder: FrameDecoder,
    buf: BytesMut,
}

impl Control {
    fn new(session: &Session, send: SendHalf, recv: RecvHalf) -> Control {
        Control {
            session: session.clone(),
            send,
            recv,
            decoder: FrameDecoder::default(),
            buf: BytesMut::new(),
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the session is over.
    pub async fn send(&mut self, message: Message) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        Frame::Message(message).encode(&mut out);
        match self.send.write_all(&out).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.session.closed().await),
        }
    }

    /// Waits for the next message. May be cancelled and called again; nothing is lost.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Protocol`] after closing the session, or [`HandshakeError::Ended`].
    pub async fn recv(&mut self) -> Result<Message, HandshakeError> {
        loop {
            match self.decoder.next(&mut self.buf) {
                Ok(Some(Frame::Message(message))) => return Ok(message),
                Ok(Some(_)) => return Err(self.fault("an exchange frame on the control stream")),
                Err(error) => return Err(self.fault(&error.to_string())),
                Ok(None) => {}
            }
            match self.recv.read_buf(&mut self.buf).await {
                Ok(0) => return Err(self.fault("the control stream ended")),
                Ok(_) => {}
                Err(_) => return Err(self.session.closed().await.into()),
            }
        }
    }

    fn fault(&self, what: &str) -> HandshakeError {
        self.session.close(Close::PROTOCOL, what);
        HandshakeError::Protocol(what.to_owned())
    }

    /// Sends a refusal and closes, giving the message time to arrive.
    async fn refuse(mut self, refused: Refused) {
        let sent = self.send(Message::Refused(refused)).await;
        if sent.is_ok() {
            self.send.finish();
            let _ = tokio::time::timeout(windows::HANDSHAKE, self.session.closed()).await;
        }
        self.session.close(Close::REFUSED, "");
    }
}

/// The client's part: says who it is and waits for the relay's answer.
///
/// # Errors
///
/// [`HandshakeError`]; the session is closed then.
pub async fn join(
    session: &Session,
    key: &ClientKey,
    token: &str,
    agent: &str,
) -> Result<(Control, Welcome), HandshakeError> {
    let answered = async {
        let stream = session.open().await?;
        let mut control = Control::new(session, stream.send, stream.recv);
        let hello = Hello {
            versions: wire::VERSIONS,
            key: key.public(),
            proof: key.prove(&session.exporter()?),
            token: token.to_owned(),
            agent: agent.to_owned(),
        };
        control.send(Message::Hello(hello)).await?;
        match control.recv().await? {
            Message::Welcome(welcome)
                if (wire::VERSIONS.0..=wire::VERSIONS.1).contains(&welcome.version) =>
            {
                Ok((control, welcome))
            }
            Message::Welcome(_) => Err(control.fault("a version that was not offered")),
            Message::Refused(refused) => {
                session.close(Close::DONE, "refused");
                Err(HandshakeError::Refused(refused))
            }
            _ => Err(control.fault("neither Welcome nor Refused after Hello")),
        }
    };
    tokio::time::timeout(windows::HANDSHAKE, answered)
        .await
        .unwrap_or_else(|_| {
            session.close(Close::PROTOCOL, "no answer to Hello");
            Err(HandshakeError::Silent)
        })
}

/// A client that has proven its key and waits to be let in.
#[derive(Debug)]
pub struct Admission {
    control: Control,
    /// What it said.
    pub hello: Hello,
}

impl Admission {
    /// Lets it in, with its full windows.
    ///
    /// # Errors
    ///
    /// [`Ended`] when it has gone.
    pub async fn welcome(mut self, session: u64, agent: &str) -> Result<Control, Ended> {
        self.control.session.trust();
        self.control
            .send(Message::Welcome(Welcome {
                version: self.hello.versions.1.min(wire::VERSIONS.1),
                session,
                agent: agent.to_owned(),
            }))
            .await?;
        Ok(self.control)
    }

    /// Turns it away, says why, and closes the session.
    pub async fn refuse(self, refused: Refused) {
        self.control.refuse(refused).await;
    }
}

/// The relay's part: waits for a Hello and checks its version and proof. The token is the
/// caller's to check.
///
/// # Errors
///
/// [`HandshakeError`]; the session is closed then.
pub async fn receive(session: &Session) -> Result<Admission, HandshakeError> {
    let received = async {
        let stream = session.accept().await?;
        let mut control = Control::new(session, stream.send, stream.recv);
        match control.recv().await? {
            Message::Hello(hello) => Ok((control, hello)),
            _ => Err(control.fault("no Hello at the beginning")),
        }
    };
    let (control, hello) = match tokio::time::timeout(windows::HANDSHAKE, received).await {
        Ok(received) => received?,
        Err(_) => {
            session.close(Close::PROTOCOL, "no Hello");
            return Err(HandshakeError::Silent);
        }
    };
    let (low, high) = hello.versions;
    if low > wire::VERSIONS.1 || high < wire::VERSIONS.0 {
        let refused = Refused {
            reason: RefusedReason::Version,
            message: format!(
                "this relay speaks versions {} to {} of the tunnel protocol, the client {low} to {high}",
                wire::VERSIONS.0,
                wire::VERSIONS.1
            ),
            retry_after_ms: 0,
        };
        control.refuse(refused.clone()).await;
        return Err(HandshakeError::Refused(refused));
    }
    let proof = UnparsedPublicKey::new(&ED25519, &hello.key);
    if proof
        .verify(&proven(&session.exporter()?), &hello.proof)
        .is_err()
    {
        let refused = Refused {
            reason: RefusedReason::BadProof,
            message: String::from("the client does not hold the key it shows"),
            retry_after_ms: 0,
        };
        control.refuse(refused.clone()).await;
        return Err(HandshakeError::Refused(refused));
    }
    Ok(Admission { control, hello })
}
