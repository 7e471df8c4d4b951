//! The relay's certificates, and the two TLS configurations made from them: one for the public,
//! one for tunnels.

use crate::store::{Store, StoreError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
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
    /// Over TCP: HTTP/2, HTTP/1.1 and HTTP/1.0 for senders, [`wire::ALPN`] for clients.
    pub public: Arc<rustls::ServerConfig>,
    /// Over QUIC: [`wire::ALPN`], TLS 1.3.
    pub tunnel: Arc<rustls::ServerConfig>,
    /// The private CA's certificate, where there is one.
    pub ca: Option<PathBuf>,
    /// The certificate's files, where it comes from files.
    pub files: Option<Arc<Files>>,
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
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut reload = None;
        let (resolver, ca): (Arc<dyn ResolvesServerCert>, _) = match tls {
            Tls::SelfSigned => {
                let private = PrivateCa::open(state, store, domain, addresses)?;
                let path = private.path.clone();
                (Arc::new(private), Some(path))
            }
            Tls::Files { cert, key } => {
                let files = Arc::new(Files::open(cert, key)?);
                reload = Some(Arc::clone(&files));
                (files, None)
            }
        };
        let mut public = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver));
        // A client that offers nothing but http/1.0 (curl --http1.0) must find it here.
        public.alpn_protocols = vec![
            b"h2".to_vec(),
            b"http/1.1".to_vec(),
            b"http/1.0".to_vec(),
            wire::ALPN.to_vec(),
        ];
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
            files: reload,
        })
    }
}

type Certified = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate from files, read again when asked to.
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    // A lock and not a task: held to copy or replace one pointer.
    current: RwLock<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({}, {})", self.cert.display(), self.key.display())
    }
}

impl Files {
    fn open(cert: &Path, key: &Path) -> Result<Files, TlsError> {
        Ok(Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(certified(cert, key)?)),
        })
    }

    /// Reads the files again. New handshakes get what they hold now; connections that stand go on.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the certificate that was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Arc::new(certified(&self.cert, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// A chain and its key, which belong together.
fn certified(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = files(cert, key)?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

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

/// How long a certificate of the private CA holds. They are made anew at every start.
const LEAF: Duration = Duration::from_secs(825 * 24 * 3600);

/// Certificates that [`PrivateCa`] keeps. One more takes the place of all: made anew they cost
/// some 100 us each, so a stranger who invents names gains nothing.
const KEPT: usize = 1_024;

/// Makes a certificate for every name under the domain when it is first asked for.
///
/// A wildcard would do for most, but OpenSSL, and with it Python and curl, takes none directly
/// under a top-level name such as `*.localhost`.
struct PrivateCa {
    path: PathBuf,
    ca: CertificateParams,
    ca_key: KeyPair,
    leaf_key: KeyPair,
    domain: String,
    /// For who asks for no name, or for another: covers the domain and our addresses.
    common: Arc<CertifiedKey>,
    // A lock and not a task: held for one lookup or insertion.
    by_name: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for PrivateCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateCa({})", self.path.display())
    }
}

impl PrivateCa {
    fn open(
        state: &Path,
        store: &Store,
        domain: &str,
        addresses: &[SocketAddr],
    ) -> Result<PrivateCa, TlsError> {
        let ca_key = ca_key(store)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(DnType::CommonName, "Adit private CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let path = state.join("ca.pem");
        // Made once and kept: people have put it into their trust stores.
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
        let leaf_key = KeyPair::generate()?;
        let common = Arc::new(leaf(names, domain, &leaf_key, &ca, &ca_key)?);
        let domain = domain.to_ascii_lowercase();
        Ok(PrivateCa {
            path,
            ca,
            ca_key,
            leaf_key,
            domain,
            common,
            by_name: Mutex::default(),
        })
    }

    fn for_name(&self, asked: &str) -> Option<Arc<CertifiedKey>> {
        let asked = asked.to_ascii_lowercase();
        let under = |domain: &str| {
            asked
                .strip_suffix(domain)
                .and_then(|label| label.strip_suffix('.'))
                .is_some_and(|label| wire::EndpointName::parse(label).is_ok())
        };
        if !under(&self.domain) && !under("localhost") {
            return None;
        }
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_name.get(&asked) {
            return Some(Arc::clone(known));
        }
        let names = vec![asked.clone()];
        let made = leaf(names, &asked, &self.leaf_key, &self.ca, &self.ca_key).ok()?;
        if by_name.len() >= KEPT {
            by_name.clear();
        }
        let made = Arc::new(made);
        by_name.insert(asked, Arc::clone(&made));
        Some(made)
    }
}

impl ResolvesServerCert for PrivateCa {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.for_name(name));
        Some(named.unwrap_or_else(|| Arc::clone(&self.common)))
    }
}

/// A certificate for these names.
fn leaf(
    names: Vec<String>,
    common_name: &str,
    leaf_key: &KeyPair,
    ca: &CertificateParams,
    ca_key: &KeyPair,
) -> Result<CertifiedKey, TlsError> {
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    // RFC 5280, A.1: a common name has at most 64 characters.
    leaf.distinguished_name.push(
        DnType::CommonName,
        common_name.chars().take(64).collect::<String>(),
    );
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    let now = Duration::from_secs(u64::try_from(crate::store::unix_now()).unwrap_or(0));
    let day = Duration::from_secs(24 * 3600);
    leaf.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(day);
    leaf.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + LEAF;
    let certificate = leaf.signed_by(leaf_key, &Issuer::from_params(ca, ca_key))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let provider = rustls::crypto::ring::default_provider();
    Ok(CertifiedKey::from_der(
        vec![certificate.der().clone()],
        key,
        &provider,
    )?)
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
