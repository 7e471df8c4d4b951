//! The relay's certificates, and the two TLS configurations made from them: one for the public,
//! one for tunnels.

use crate::store::{Store, StoreError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the relay's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From a private CA in the state folder.
    SelfSigned,
    /// From PEM files.
    Files {
        /// The certificate and its chain.
        cert: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// The private CA cannot be kept.
    #[error("the private CA in the state folder cannot be written")]
    Write(#[source] std::io::Error),
    /// A certificate cannot be made.
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// rustls does not take it.
    #[error("the certificate and key cannot be used")]
    Use(#[from] rustls::Error),
    /// The CA's key cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The two TLS configurations.
#[derive(Clone, Debug)]
pub struct Configs {
    /// For senders: HTTP/2, HTTP/1.1, HTTP/1.0.
    pub public: Arc<rustls::ServerConfig>,
    /// For clients: [`wire::ALPN`], TLS 1.3.
    pub tunnel: Arc<rustls::ServerConfig>,
    /// The private CA's certificate, where there is one.
    pub ca: Option<PathBuf>,
}

impl Configs {
    /// Loads or makes the certificate. `addresses` are those that a self-signed one must cover.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn load(
        tls: &Tls,
        state: &Path,
        store: &Store,
        domain: &str,
        addresses: &[SocketAddr],
    ) -> Result<Configs, TlsError> {
        let (chain, key, ca) = match tls {
            Tls::SelfSigned => {
                let (chain, key, ca) = self_signed(state, store, domain, addresses)?;
                (chain, key, Some(ca))
            }
            Tls::Files { cert, key } => {
                let (chain, key) = files(cert, key)?;
                (chain, key, None)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified = Arc::new(rustls::sign::CertifiedKey::from_der(chain, key, &provider)?);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let mut public = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as _);
        // A client that offers nothing but http/1.0 (curl --http1.0) must find it here.
        public.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        let mut tunnel = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        tunnel.alpn_protocols = vec![wire::ALPN.to_vec()];
        // No 0-RTT: what it carries can be replayed by whoever saw it.
        tunnel.max_early_data_size = 0;
        Ok(Configs {
            public: Arc::new(public),
            tunnel: Arc::new(tunnel),
            ca,
        })
    }
}

type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn files(cert: &Path, key: &Path) -> Result<Certified, TlsError> {
    let file = |path: &Path, error: &dyn std::fmt::Display| {
        TlsError::File(path.to_owned(), error.to_string())
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| file(cert, &error))?;
    if chain.is_empty() {
        return Err(file(cert, &"no certificate in this file"));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, &error))?;
    Ok((chain, key))
}

/// How long a certificate of the private CA holds. It is made anew at every start.
const LEAF: Duration = Duration::from_secs(825 * 24 * 3600);

fn self_signed(
    state: &Path,
    store: &Store,
    domain: &str,
    addresses: &[SocketAddr],
) -> Result<
    (
        Vec<CertificateDer<'static>>,
        PrivateKeyDer<'static>,
        PathBuf,
    ),
    TlsError,
> {
    let ca_key = ca_key(store)?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "Adit private CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let path = state.join("ca.pem");
    // The CA's certificate is made once and kept: people have put it into their trust stores.
    let fresh = ca.self_signed(&ca_key)?.pem();
    let pem = store.keep("private CA certificate", fresh.as_bytes())?;
    if std::fs::read(&path).ok().as_deref() != Some(&pem[..]) {
        write_public(&path, &pem).map_err(TlsError::Write)?;
    }

    let mut names = vec![String::from("localhost"), String::from("*.localhost")];
    if domain != "localhost" {
        names.extend([domain.to_owned(), format!("*.{domain}")]);
    }
    names.extend([String::from("127.0.0.1"), String::from("::1")]);
    names.extend(
        addresses
            .iter()
            .map(|address| address.ip())
            .filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
            .map(|ip| ip.to_string()),
    );
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, domain);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    let now = Duration::from_secs(u64::try_from(crate::store::unix_now()).unwrap_or(0));
    let day = Duration::from_secs(24 * 3600);
    leaf.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(day);
    leaf.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + LEAF;
    let leaf_key = KeyPair::generate()?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    let certificate = leaf.signed_by(&leaf_key, &issuer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    Ok((vec![certificate.der().clone()], key, path))
}

fn ca_key(store: &Store) -> Result<KeyPair, TlsError> {
    let fresh = KeyPair::generate()?;
    let kept = store.keep("private CA key", fresh.serialized_der())?;
    Ok(KeyPair::try_from(kept.as_slice())?)
}

fn write_public(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("pem.new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
