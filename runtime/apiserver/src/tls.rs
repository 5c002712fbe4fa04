//! The server's certificate: signed by a CA of this host alone, which clients are told to trust.
//!
//! The CA and the token are kept in a directory that only its owner can read, so that a kubeconfig
//! stays good over restarts. The serving certificate is made anew at each start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use serve_runtime::private;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::auth::{Names, Token};

const CA_KEY: &str = "ca.key";
const CA_CERTIFICATE: &str = "ca.crt";
const TOKEN: &str = "token";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("using \"{}\"", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("making a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("using the certificate")]
    Tls(#[from] rustls::Error),
}

/// What a server shows, and what it asks for.
pub struct Credentials {
    /// Certificate of the CA, as PEM.
    pub ca: String,
    pub token: Token,
    /// Names that the serving certificate has, and that requests may be for.
    pub names: Names,
    pub(crate) config: Arc<ServerConfig>,
}

impl Credentials {
    /// Reads, or makes, CA and token in `directory`, and makes a serving certificate for this
    /// address.
    ///
    /// # Errors
    /// As [`Error`] says; a directory or file that others can read is refused.
    pub fn open(directory: &Path, address: SocketAddr) -> Result<Self, Error> {
        let at = |name: &str| directory.join(name);
        private::directory(directory).map_err(|source| file(directory, source))?;
        let params = authority();
        let kept = (read(&at(CA_KEY))?, read(&at(CA_CERTIFICATE))?);
        let (key, ca) = if let (Some(key), Some(ca)) = kept {
            (KeyPair::from_pem(&key)?, ca)
        } else {
            // One without the other is what a crash left of the first start.
            let key = KeyPair::generate()?;
            let ca = params.self_signed(&key)?.pem();
            write(&at(CA_KEY), &key.serialize_pem())?;
            write(&at(CA_CERTIFICATE), &ca)?;
            (key, ca)
        };
        let kept = read(&at(TOKEN))?;
        let token = if let Some(token) = kept.as_deref().and_then(Token::parse) {
            token
        } else {
            let token = Token::generate().map_err(|source| file(directory, source))?;
            write(&at(TOKEN), token.as_str())?;
            token
        };
        let names = names(address);
        let config = serving(&Issuer::new(params, key), &names)?;
        Ok(Self {
            ca,
            token,
            names: Names(names),
            config,
        })
    }
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

/// The CA, the same each time: what it signs is told apart by its key.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "serve-ca");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // No clock is read for it: the files are what limits its life.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

/// Loopback by all its names, this machine's name, and the address asked for.
fn names(address: SocketAddr) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let machine = machine_name().trim().to_ascii_lowercase();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if !machine.is_empty() && machine.bytes().all(is_name) {
        names.push(machine);
    }
    let ip = address.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.sort();
    names.dedup();
    names
}

/// The name that this machine has for itself; empty when it does not say.
fn machine_name() -> String {
    let from_kernel = fs::read_to_string("/proc/sys/kernel/hostname");
    from_kernel.unwrap_or_else(|_| {
        let output = std::process::Command::new("hostname").output();
        output.map_or_else(
            |_| String::new(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    })
}

fn serving(issuer: &Issuer<'_, KeyPair>, names: &[String]) -> Result<Arc<ServerConfig>, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "serve");
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    let certificate = params.signed_by(&key, issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(path, error)),
    };
    if !found.is_file() || !private::is_private(&found) {
        let problem = "it must be a file with mode 0600";
        let error = io::Error::new(io::ErrorKind::PermissionDenied, problem);
        return Err(file(path, error));
    }
    fs::read_to_string(path)
        .map(Some)
        .map_err(|source| file(path, source))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    private::write(path, text.as_bytes()).map_err(|source| file(path, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn open(directory: &Path) -> Result<Credentials, Error> {
        Credentials::open(directory, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    #[test]
    fn credentials_stay_over_restarts_and_are_private() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("a/api");
        let first = open(&directory).expect("made");
        let second = open(&directory).expect("read");
        assert_eq!(first.ca, second.ca);
        assert_eq!(first.token.as_str(), second.token.as_str());
        for name in [CA_KEY, CA_CERTIFICATE, TOKEN] {
            let mode = fs::metadata(directory.join(name)).expect(name).mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("api");
        drop(open(&directory).expect("made"));
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        };
        set(&directory.join(CA_KEY), 0o644);
        assert!(open(&directory).is_err());
        set(&directory.join(CA_KEY), 0o600);
        set(&directory, 0o755);
        assert!(open(&directory).is_err());
    }
}
