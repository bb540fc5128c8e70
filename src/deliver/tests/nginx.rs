//! The most common drain: nginx ends each connection after a number of requests.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::Config;
use super::calls::{Heard, config, target};
use super::tls::Authority;

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers 200 on HTTP/2, 100 times on each connection. None if nginx is not installed.
fn start(directory: &Path, port: u16, authority: &Authority) -> Option<Nginx> {
    let (certificate, key) = authority.signs(&["127.0.0.1"]);
    std::fs::write(directory.join("certificate.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    let configuration = format!(
        "daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; client_body_temp_path {directory}/body;
           server {{
             listen 127.0.0.1:{port} ssl http2; keepalive_requests 100;
             ssl_certificate certificate.pem; ssl_certificate_key key.pem;
             location / {{ return 200; }}
           }}
         }}",
        directory = directory.display(),
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-e").arg(directory.join("error.log")).arg("-p").arg(directory).arg("-c").arg(file);
    nginx.stdin(Stdio::null()).stderr(Stdio::null()).spawn().ok().map(Nginx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_that_drains_its_connections_under_load_costs_no_attempt() {
    const AT_ONCE: u32 = 1000;
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(_nginx) = start(directory.path(), port, &authority) else {
        eprintln!("NOT SHOWN without nginx: that its drains cost no attempt");
        return;
    };
    let log = || std::fs::read_to_string(directory.path().join("error.log")).unwrap_or_default();
    let listens = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), listens).await.unwrap_or_else(|_| panic!("nginx does not listen: {}", log()));
    let ca_file = directory.path().join("authority.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let queue_wait = Duration::from_secs(60);
    let mut heard = Heard::new(Config { ca_file: Some(ca_file), retry: vec![], queue_wait, ..config() });
    let target = target(&format!("https://127.0.0.1:{port}/"));
    for round in 0..5 {
        heard.offer_all(&target, round * AT_ONCE..(round + 1) * AT_ONCE).await;
        for _ in 0..AT_ONCE {
            assert_eq!(heard.delivered().await, 1, "{}", log());
        }
    }
}
