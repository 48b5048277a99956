//! TLS and credentials.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};

use crate::node::{Node, fired};
use crate::receiver::{Act, Receiver};

#[test]
fn credentials_go_over_tls_and_a_rotated_token_is_picked_up() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Receiver::on(listener, Some(Arc::new(tls)));
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, token, password) = (
        file("ca.pem", &made.cert.pem()),
        file("token", "one"),
        file("password", "pass"),
    );
    let config = format!(
        "[[webhook]]\nname = 'token'\nurl = 'https://{0}/token'\nca_file = '{ca}'\nbearer_token_file = '{token}'\n\
         [[alertmanager]]\nurls = ['https://{0}']\nca_file = '{ca}'\nusername = 'weir'\npassword_file = '{password}'\n\
         [[webhook]]\nname = 'distrust'\nurl = 'https://{0}/distrust'\n",
        receiver.address
    );
    // The first answer of each is a refusal that a new token ends.
    receiver.then([Act::Say(401, "", ""), Act::Say(401, "", "")]);
    let node = Node::start(&config, &dir.path().join("state"));
    node.commit(vec![fired("Stall", 0)]);
    receiver.until("both are refused", |receiver| receiver.seen().len() >= 2);
    file("token", "two");
    receiver.until("both arrive", |receiver| receiver.taken().len() >= 2);
    let seen = receiver.seen();
    let has = |path: &str, header: &str| {
        let asked = seen.iter().filter(|seen| seen.head.starts_with(path));
        asked.filter(|seen| seen.head.contains(header)).count()
    };
    assert!(has("post /token", "authorization: Bearer one") >= 1);
    assert!(has("post /token", "authorization: Bearer two") >= 1);
    let basic = format!("authorization: Basic {}", STANDARD.encode("weir:pass"));
    assert!(has("post /api/v2/alerts", &basic) >= 1);
    // Its certificate is not from an authority of the system.
    assert_eq!(has("post /distrust", ""), 0);
    crate::receiver::until(
        "distrust",
        || node.counts(1).name == "webhook/token",
        String::new,
    );
    assert!(node.failed(2) > 0);
}
