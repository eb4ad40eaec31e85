//! TLS: nobody on the way can read a connection, or pose as the server.
//!
//! # Invariant
//!
//! Over TLS, no byte of a command is sent before the server has shown a certificate that a trusted
//! authority signed for the expected name, unless `dangerously_trust_any_server` is set. The
//! cryptography is `ring`'s, chosen here: a provider that the process has installed is not used,
//! and we install none.
//!
//! Files are read for each connection, so that a certificate that was replaced is used from the
//! next one on.

use std::path::PathBuf;

#[cfg(feature = "tls")]
pub(crate) use self::session::secured;

/// Which servers to trust over TLS, and the certificate to show. For URLs that begin with `rediss`
/// or `valkeys`.
///
/// By default the authorities that the system trusts are trusted (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name others), and no certificate is shown.
///
/// ```
/// use leasehold_redis::{ClientCertificate, Settings};
///
/// let mut settings: Settings = "rediss://redis.internal:6380".parse()?;
/// settings.tls.ca_file = Some("/etc/leasehold/ca.pem".into());
/// settings.tls.client = Some(ClientCertificate {
///     certificate_file: "/etc/leasehold/client.pem".into(),
///     key_file: "/etc/leasehold/client.key".into(),
/// });
/// # Ok::<(), leasehold_redis::UrlError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TlsSettings {
    /// Certificates, in PEM, of authorities to trust beside the system's: those of a private
    /// authority.
    pub ca_file: Option<PathBuf>,
    /// The certificate for servers that ask for one.
    pub client: Option<ClientCertificate>,
    /// The name that the server's certificate must be for, in place of the host of the URL. For
    /// servers that are reached by an address, or as sentinels know them, and certified by name.
    pub server_name: Option<String>,
    /// Accepts any certificate, so that anybody on the way can pose as the server and read the
    /// password. For tests only.
    pub dangerously_trust_any_server: bool,
}

/// A certificate of our own, for servers that ask their clients for one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// The certificate, and the intermediate certificates up to the authority, in PEM.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM: PKCS #8, PKCS #1 or SEC 1, without a password.
    pub key_file: PathBuf,
}

/// A fault of TLS. Its message says how to mend it where that is known.
#[derive(Clone, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// There are settings for TLS, and a URL that does not ask for it.
    #[error("there are settings for TLS, but the URL asks for none; write rediss:// for redis://")]
    NotAsked,
    /// A file cannot be used.
    #[error("{path:?}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
    /// There is no authority to trust.
    #[error(
        "this system has no certificates of authorities ({what}); \
         name a file of them in Settings::tls.ca_file or SSL_CERT_FILE"
    )]
    NoRoots {
        /// The system's error.
        what: String,
    },
    /// An authority we do not know signed the certificate.
    #[error(
        "no authority we trust signed the server's certificate; name the file of the one that did \
         in Settings::tls.ca_file"
    )]
    UnknownAuthority,
    /// The certificate is for other names.
    #[error(
        "the server's certificate is not for {expected:?} but for {presented}; connect by such a \
         name, or set Settings::tls.server_name to it"
    )]
    WrongName {
        /// The name asked for.
        expected: String,
        /// The names it is for.
        presented: String,
    },
    /// The certificate has expired.
    #[error("the server's certificate has expired; replace it (or is this machine's clock wrong?)")]
    Expired,
    /// The certificate is not valid yet.
    #[error("the server's certificate is not valid yet; is this machine's clock wrong?")]
    NotYetValid,
    /// The server does not accept our certificate, or wants one. With TLS 1.3 it may close the
    /// connection before its reason reaches us.
    #[error(
        "the server refused us ({what}); it may want a certificate of ours, signed by an authority \
         that it trusts: see Settings::tls.client"
    )]
    Unwelcome {
        /// The server's alert.
        what: String,
    },
    /// The process that listens at the address does not speak TLS.
    #[error(
        "what answers there does not speak TLS ({what}); if it is a plain server, write redis://"
    )]
    NotTls {
        /// Its answer.
        what: String,
    },
    /// Anything else.
    #[error("{what}")]
    Other {
        /// The library's error.
        what: String,
    },
}

#[cfg(feature = "tls")]
mod session {
    use std::io;
    use std::path::Path;
    use std::sync::{Arc, OnceLock};

    use tokio::net::TcpStream;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
    use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
        SignatureScheme,
    };
    use tokio_rustls::{TlsConnector, rustls};

    use super::{ClientCertificate, TlsFault, TlsSettings};

    /// Performs the TLS handshake over `stream` with the server called `host`.
    pub(crate) async fn secured(
        stream: TcpStream,
        host: &str,
        settings: &TlsSettings,
    ) -> Result<TlsStream<TcpStream>, TlsFault> {
        let name = settings.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| other(format!("{name:?} is no name that a certificate can be for")))?;
        let config = {
            let settings = settings.clone();
            // In a thread that may block: it reads files, and the system's authorities are many.
            let made = tokio::task::spawn_blocking(move || config(&settings)).await;
            made.map_err(|error| other(error.to_string()))??
        };
        let connector = TlsConnector::from(Arc::new(config));
        let connected = connector.connect(server, stream).await;
        connected.map_err(|error| fault(&error, name))
    }

    fn config(settings: &TlsSettings) -> Result<ClientConfig, TlsFault> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has suites for both versions");
        let builder = if settings.dangerously_trust_any_server {
            let anyone = Arc::new(Anyone(provider));
            builder.dangerous().with_custom_certificate_verifier(anyone)
        } else {
            builder.with_root_certificates(roots(settings)?)
        };
        match &settings.client {
            None => Ok(builder.with_no_client_auth()),
            Some(ClientCertificate {
                certificate_file,
                key_file,
            }) => {
                let key = PrivateKeyDer::from_pem_file(key_file);
                let key = key.map_err(|error| unread(key_file, &error, "private key"))?;
                let chain = certificates(certificate_file)?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|error| TlsFault::File {
                    path: certificate_file.clone(),
                    what: format!("with the key {}: {error}", key_file.display()),
                })
            }
        }
    }

    fn roots(settings: &TlsSettings) -> Result<RootCertStore, TlsFault> {
        let system = SYSTEM_ROOTS.get_or_init(|| {
            let mut store = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            // A certificate that cannot be read is not trusted.
            store.add_parsable_certificates(found.certs);
            let errors = found.errors.iter().map(ToString::to_string);
            (store, errors.collect::<Vec<_>>().join("; "))
        });
        let mut store = system.0.clone();
        if let Some(path) = &settings.ca_file {
            for certificate in certificates(path)? {
                store.add(certificate).map_err(|error| TlsFault::File {
                    path: path.clone(),
                    what: format!("it holds a certificate that is none of an authority: {error}"),
                })?;
            }
        }
        if store.is_empty() {
            let what = match system.1.as_str() {
                "" => "none were found",
                what => what,
            };
            return Err(TlsFault::NoRoots {
                what: what.to_owned(),
            });
        }
        Ok(store)
    }

    /// The certificates in a file, at least one.
    fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
        let blame = |error| unread(path, &error, "certificate");
        let found = CertificateDer::pem_file_iter(path).map_err(blame)?;
        let found = found.collect::<Result<Vec<_>, _>>().map_err(blame)?;
        if found.is_empty() {
            return Err(blame(pem::Error::NoItemsFound));
        }
        Ok(found)
    }

    fn unread(path: &Path, error: &pem::Error, wanted: &str) -> TlsFault {
        let what = match error {
            pem::Error::Io(error) => error.to_string(),
            pem::Error::NoItemsFound => format!("it holds no {wanted} in PEM"),
            error => format!("it is no {wanted} in PEM: {error:?}"),
        };
        TlsFault::File {
            path: path.to_owned(),
            what,
        }
    }

    /// The meaning of the library's `error` for a caller that wanted to reach `name`.
    fn fault(error: &io::Error, name: &str) -> TlsFault {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let Some(inner) = inner else {
            // The server closed the connection: mostly a plain server that could not read TLS.
            let what = error.to_string();
            return TlsFault::NotTls { what };
        };
        match inner {
            Error::InvalidCertificate(reason) => match reason {
                // A bad signature is that of another authority with the same name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    TlsFault::UnknownAuthority
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    TlsFault::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    TlsFault::NotYetValid
                }
                CertificateError::NotValidForNameContext { presented, .. } => TlsFault::WrongName {
                    expected: name.to_owned(),
                    presented: match presented.as_slice() {
                        [] => "none".to_owned(),
                        names => names
                            .iter()
                            .map(|name| bare(name))
                            .collect::<Vec<_>>()
                            .join(", "),
                    },
                },
                reason => other(format!("the server's certificate will not do: {reason}")),
            },
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => TlsFault::NotTls {
                what: inner.to_string(),
            },
            Error::AlertReceived(_) => TlsFault::Unwelcome {
                what: inner.to_string(),
            },
            inner => other(inner.to_string()),
        }
    }

    /// `elsewhere.example` of `DnsName("elsewhere.example")`, which is how the library has it.
    fn bare(name: &str) -> &str {
        let quoted = name
            .split_once('"')
            .and_then(|(_, rest)| rest.split_once('"'));
        quoted.map_or(name, |(quoted, _)| quoted)
    }

    fn other(what: String) -> TlsFault {
        TlsFault::Other { what }
    }

    /// A verifier that accepts any certificate, but checks that the server has its key.
    #[derive(Debug)]
    struct Anyone(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    /// The system's authorities, read once: they are some 150 files on some systems.
    static SYSTEM_ROOTS: OnceLock<(RootCertStore, String)> = OnceLock::new();
}

leasehold_core::debug_by_display!(TlsFault);
