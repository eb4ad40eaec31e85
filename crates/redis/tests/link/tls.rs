//! TLS: who is trusted, and what is said about who is not.
//!
//! Most servers here are a proxy of our own that ends TLS before a real server, which can fail in
//! ways that real ones rarely do. Where the real server knows TLS itself, it is tried as well.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold::Limiter;
use leasehold::store::Store as _;
use leasehold_redis::{
    ClientCertificate, ConnectFault, Link, RedisStore, Settings, Stage, TlsFault,
};
use leasehold_testbed::{Binary, LocalServer, ServerError, ServerOptions};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use redis::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{RECOVERY, on_each_server, set, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_works_over_tls_and_no_provider_is_installed_for_it() {
    on_each_server(ServerOptions::default(), async |server| {
        let authority = Authority::new();
        let url = ends_tls(&server, authority.server(&Leaf::good())).await;
        let store = RedisStore::connect(authority.trusted_by(&url)).await;
        let limiter = Limiter::builder()
            .limit("api", "10/s burst 20")
            .store(Arc::new(store.expect("connects")))
            .build()
            .expect("builds");
        assert!(limiter.acquire("somebody", 1).await.is_allowed());
        let provider = CryptoProvider::get_default();
        assert!(provider.is_none(), "the process chooses its own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_tls_comes_back_with_the_certificate_that_is_there_by_then() {
    on_each_server(ServerOptions::default(), async |mut server| {
        let mut authority = Authority::new();
        let proxy = EndsTls::before(&server, authority.server(&Leaf::good())).await;
        let mut settings = authority.trusted_by(&proxy.url);
        settings.backoff_max = Duration::from_millis(200);
        let link = Link::connect(settings, ()).await.expect("connects");
        assert_eq!(set(&link).await, Ok(Value::Okay));

        authority.renew();
        proxy.is_now(authority.server(&Leaf::good()));
        server.kill();
        within(Duration::from_secs(1), link.down()).await;
        server.restart().expect("restarts");
        within(RECOVERY, link.up()).await;
        assert_eq!(set(&link).await, Ok(Value::Okay));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_proves_nothing_is_refused_with_its_reason() {
    let Some(server) = any_server() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let fault = async |config: ServerConfig| {
        let url = ends_tls(&server, config).await;
        let error = Link::connect(ours.trusted_by(&url), ()).await;
        let error = error.expect_err("not trusted");
        assert!(error.to_string().contains(&url), "{error}");
        error.fault
    };

    // One of the same name, as a renewed one has, and one of another.
    for theirs in [theirs, Authority::named("another")] {
        let unknown = fault(theirs.server(&Leaf::good())).await;
        assert_eq!(unknown, ConnectFault::Tls(TlsFault::UnknownAuthority));
        assert!(unknown.to_string().contains("ca_file"), "{unknown}");
    }

    let elsewhere = fault(ours.server(&Leaf {
        name: "elsewhere.example",
        ..Leaf::good()
    }))
    .await;
    let shown = elsewhere.to_string();
    assert!(
        matches!(elsewhere, ConnectFault::Tls(TlsFault::WrongName { .. })),
        "{elsewhere:?}"
    );
    for part in ["\"127.0.0.1\"", " for elsewhere.example;", "server_name"] {
        assert!(shown.contains(part), "{shown}");
    }

    let expired = fault(ours.server(&Leaf {
        years: (2001, 2002),
        ..Leaf::good()
    }))
    .await;
    assert_eq!(expired, ConnectFault::Tls(TlsFault::Expired));

    let early = fault(ours.server(&Leaf {
        years: (4000, 4001),
        ..Leaf::good()
    }))
    .await;
    assert_eq!(early, ConnectFault::Tls(TlsFault::NotYetValid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_taken_at_its_certified_name_or_at_any_if_told_so() {
    let Some(server) = any_server() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    let elsewhere = Leaf {
        name: "elsewhere.example",
        ..Leaf::good()
    };
    let url = ends_tls(&server, ours.server(&elsewhere)).await;
    let mut settings = ours.trusted_by(&url);
    settings.tls.server_name = Some("elsewhere.example".to_owned());
    let link = Link::connect(settings, ()).await.expect("its name");
    assert_eq!(set(&link).await, Ok(Value::Okay));

    let url = ends_tls(&server, theirs.server(&elsewhere)).await;
    let mut settings = ours.trusted_by(&url);
    settings.tls.dangerously_trust_any_server = true;
    let link = Link::connect(settings, ()).await.expect("any");
    assert_eq!(set(&link).await, Ok(Value::Okay));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    let Some(server) = any_server() else { return };
    let (ours, theirs) = (Authority::new(), Authority::new());
    for tls12 in [false, true] {
        let url = ends_tls(&server, ours.demanding(tls12)).await;
        let mut settings = ours.trusted_by(&url);
        let error = Link::connect(settings.clone(), ()).await;
        let error = error.expect_err("nothing to show");
        let unwelcome =
            |fault: &ConnectFault| matches!(fault, ConnectFault::Tls(TlsFault::Unwelcome { .. }));
        assert!(unwelcome(&error.fault), "{error}");
        assert!(error.to_string().contains("tls.client"), "{error}");

        settings.tls.client = Some(theirs.client());
        let error = Link::connect(settings.clone(), ()).await;
        let error = error.expect_err("another's");
        assert!(unwelcome(&error.fault), "{error}");

        settings.tls.client = Some(ours.client());
        let link = Link::connect(settings, ()).await.expect("is let in");
        assert_eq!(set(&link).await, Ok(Value::Okay));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_tls_itself_is_reached_and_told_from_a_plain_one() {
    for binary in LocalServer::find_or_skip() {
        let authority = Authority::new();
        let Some((server, url)) = authority.real_server(&binary) else {
            println!("{binary} was built without TLS");
            continue;
        };
        let mut settings = authority.trusted_by(&url);
        let error = Link::connect(settings.clone(), ()).await;
        let fault = error.expect_err("it asks for a certificate").fault;
        assert!(
            matches!(fault, ConnectFault::Tls(TlsFault::Unwelcome { .. })),
            "{fault}"
        );
        settings.tls.client = Some(authority.client());
        let store = RedisStore::connect(settings).await.expect("is let in");
        assert!(store.round_trips() > 0, "it was greeted");

        // A TLS server where a plain one was expected, and the other way round.
        let plain: Settings = url.replace("rediss:", "redis:").parse().expect("a URL");
        let error = Link::connect(plain, ()).await.expect_err("it wants TLS");
        assert!(error.to_string().contains("rediss://"), "{error}");
        let secure = server.url().replace("redis:", "rediss:");
        let error = Link::connect(authority.trusted_by(&secure), ()).await;
        assert_not_tls(&error.expect_err("it knows no TLS").fault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_server_and_one_over_tls_are_told_apart() {
    on_each_server(ServerOptions::default(), async |server| {
        let authority = Authority::new();
        let secure = server.url().replace("redis:", "rediss:");
        let error = Link::connect(authority.trusted_by(&secure), ()).await;
        let error = error.expect_err("it knows no TLS");
        assert_not_tls(&error.fault);
        assert!(error.to_string().contains(&secure), "{error}");

        let url = ends_tls(&server, authority.server(&Leaf::good())).await;
        let plain: Settings = url.replace("rediss:", "redis:").parse().expect("a URL");
        let error = Link::connect(plain, ()).await.expect_err("it wants TLS");
        assert!(
            matches!(error.fault, ConnectFault::NotRedis { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("rediss://"), "{error}");
    })
    .await;
}

/// It either answers in clear text or waits for more of what it takes for a command.
fn assert_not_tls(fault: &ConnectFault) {
    let told = match fault {
        ConnectFault::Tls(TlsFault::NotTls { .. }) => true,
        ConnectFault::TimedOut { stage, .. } => *stage == Stage::Securing,
        _ => false,
    };
    assert!(told, "{fault:?}");
    assert!(fault.to_string().contains("write redis://"), "{fault}");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_by_file() {
    let Some(server) = any_server() else { return };
    let authority = Authority::new();
    let url = ends_tls(&server, authority.server(&Leaf::good())).await;
    let fault = async |change: &dyn Fn(&mut Settings)| {
        let mut settings = authority.trusted_by(&url);
        change(&mut settings);
        let error = Link::connect(settings, ()).await;
        error.expect_err("it cannot be used").fault.to_string()
    };
    let nowhere = PathBuf::from("/nowhere.pem");
    let shown = fault(&|settings| settings.tls.ca_file = Some(nowhere.clone())).await;
    assert!(shown.contains("/nowhere.pem"), "{shown}");

    let key = authority.client().key_file;
    let shown = fault(&|settings| settings.tls.ca_file = Some(key.clone())).await;
    assert!(shown.contains("no certificate in PEM"), "{shown}");

    let mut client = authority.client();
    client.key_file.clone_from(&client.certificate_file);
    let shown = fault(&|settings| settings.tls.client = Some(client.clone())).await;
    assert!(shown.contains("no private key in PEM"), "{shown}");

    let mut plain: Settings = server.url().parse().expect("a URL");
    plain.tls = authority.trusted_by(&url).tls;
    let error = Link::connect(plain, ())
        .await
        .expect_err("no TLS asked for");
    assert_eq!(error.fault, ConnectFault::Tls(TlsFault::NotAsked));
}

fn any_server() -> Option<LocalServer> {
    let binary = LocalServer::find_or_skip().into_iter().next();
    binary.map(|binary| {
        let options = ServerOptions {
            binary: Some(binary),
            ..ServerOptions::default()
        };
        LocalServer::start(&options).expect("starts")
    })
}

/// A certificate to make.
struct Leaf {
    name: &'static str,
    years: (i32, i32),
}

impl Leaf {
    fn good() -> Self {
        Self {
            name: "127.0.0.1",
            years: (2020, 3000),
        }
    }
}

/// Signs certificates, and keeps files of them while it lives.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let files = TempDir::new().expect("a directory");
        Self {
            issuer: issuer(name, &files),
            files,
        }
    }

    /// Becomes another authority, in the same file.
    fn renew(&mut self) {
        self.issuer = issuer("authority", &self.files);
    }

    fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    fn trusted_by(&self, url: &str) -> Settings {
        let mut settings: Settings = url.parse().expect("a URL");
        settings.tls.ca_file = Some(self.ca_file());
        // Unoptimised cryptography on a busy machine.
        settings.connect_timeout = Duration::from_secs(2);
        settings
    }

    fn signed(&self, leaf: &Leaf) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![leaf.name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate, key)
    }

    fn client(&self) -> ClientCertificate {
        let mut params = CertificateParams::new(vec!["client".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(3000, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let client = ClientCertificate {
            certificate_file: self.files.path().join("client.pem"),
            key_file: self.files.path().join("client.key"),
        };
        std::fs::write(&client.certificate_file, certificate.pem()).expect("written");
        std::fs::write(&client.key_file, key.serialize_pem()).expect("written");
        client
    }

    fn server(&self, leaf: &Leaf) -> ServerConfig {
        let (certificate, key) = self.signed(leaf);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate")
    }

    /// A server that wants to see a certificate of ours.
    fn demanding(&self, tls12: bool) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.ca_file()).expect("written");
        roots.add(own).expect("an authority");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let (certificate, key) = self.signed(&Leaf::good());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let versions = if tls12 {
            vec![&tokio_rustls::rustls::version::TLS12]
        } else {
            vec![&tokio_rustls::rustls::version::TLS13]
        };
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate")
    }

    /// A real server that ends TLS itself and asks for certificates, and its URL; none if it was
    /// built without TLS.
    fn real_server(&self, binary: &Binary) -> Option<(LocalServer, String)> {
        let (certificate, key) = self.signed(&Leaf::good());
        let (certificate_file, key_file) = (
            self.files.path().join("server.pem"),
            self.files.path().join("server.key"),
        );
        std::fs::write(&certificate_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        let port = free_port();
        let mut arguments: Vec<String> = vec!["--tls-port".into(), port.to_string()];
        for (option, path) in [
            ("--tls-cert-file", &certificate_file),
            ("--tls-key-file", &key_file),
            ("--tls-ca-cert-file", &self.ca_file()),
        ] {
            arguments.extend([option.to_owned(), path.display().to_string()]);
        }
        let options = ServerOptions {
            binary: Some(binary.clone()),
            arguments,
            ..ServerOptions::default()
        };
        match LocalServer::start(&options) {
            Ok(server) => Some((server, format!("rediss://127.0.0.1:{port}"))),
            Err(ServerError::Exited { log, .. }) if log.contains("TLS support") => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn issuer(name: &str, files: &TempDir) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate whose subject is its issuer is taken for self-signed, whoever signed it.
    let subject = &mut params.distinguished_name;
    subject.push(DnType::CommonName, name);
    params.not_after = date_time_ymd(3000, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed");
    std::fs::write(files.path().join("ca.pem"), certificate.pem()).expect("written");
    Issuer::new(params, key)
}

/// A proxy that ends TLS before a server.
struct EndsTls {
    url: String,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl EndsTls {
    async fn before(server: &LocalServer, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("rediss://{}", listener.local_addr().expect("an address"));
        let target = server.url().trim_start_matches("redis://").to_owned();
        let (config, current) = watch::channel(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, config) = (target.clone(), current.borrow().clone());
                tokio::spawn(async move {
                    // Who does not like the certificate hangs up, and so does a server that is
                    // gone.
                    let mut near = TlsAcceptor::from(config).accept(near).await?;
                    let mut far = TcpStream::connect(target).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self { url, config }
    }

    fn is_now(&self, config: ServerConfig) {
        self.config.send_replace(Arc::new(config));
    }
}

/// The URL of a proxy that ends TLS before `server`.
async fn ends_tls(server: &LocalServer, config: ServerConfig) -> String {
    EndsTls::before(server, config).await.url
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
