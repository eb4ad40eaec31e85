//! A service that limits its clients, over plain TCP with just enough HTTP for `curl`:
//! `cargo run -p leasehold --example service`. It calls itself a few times and ends; with
//! `-- serve` it waits for `curl -i http://127.0.0.1:8429/alice` until ctrl-c.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use leasehold::{Limiter, Reason, Verdict};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let waits = std::env::args().nth(1).is_some_and(|word| word == "serve");
    // Built once and shared: all connections spend from the same leases. For several processes
    // that share their limits, `.store(…)` goes here.
    let limiter = Limiter::builder()
        .limit("requests", "2/s burst 3")
        .build()?;
    let port = if waits { 8429 } else { 0 };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    println!("listening on {address}");

    let server = tokio::spawn(serve(listener, limiter.clone()));
    if waits {
        tokio::signal::ctrl_c().await?;
    } else {
        tokio::select! {
            shown = demonstrate(address) => shown?,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
    }

    // No new connections first; then what is leased goes back, and the next process finds it.
    server.abort();
    limiter.shutdown().await?;
    println!("shut down");
    Ok(())
}

async fn serve(listener: TcpListener, limiter: Limiter) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let limiter = limiter.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &limiter).await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}

/// Reads one request and answers it. The path stands for what identifies a client in a real
/// service: an API key, a user, an address.
async fn answer(mut stream: TcpStream, limiter: &Limiter) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    // A client that never ends its line must not fill the memory.
    let mut lines = BufReader::new(reader.take(8192)).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    while lines
        .next_line()
        .await?
        .is_some_and(|line| !line.is_empty())
    {}
    let client = first.split_whitespace().nth(1).unwrap_or("/");

    let verdict = limiter.acquire(client, 1).await;
    writer.write_all(response(&verdict).as_bytes()).await?;
    writer.shutdown().await
}

fn response(verdict: &Verdict) -> String {
    let (status, body) = match verdict.denial() {
        None => ("200 OK", "welcome\n".to_owned()),
        Some(denial) => (status(denial.reason), format!("{}\n", denial.reason)),
    };
    let wait = verdict.denial().and_then(|denial| denial.retry.seconds());
    let wait = wait.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{wait}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A client that used up its limit is told so; one that met our own trouble is not blamed for it.
fn status(reason: Reason) -> &'static str {
    match reason {
        Reason::Exhausted | Reason::TooCostly => "429 Too Many Requests",
        _ => "503 Service Unavailable",
    }
}

/// Two clients, one of them greedy.
async fn demonstrate(address: SocketAddr) -> io::Result<()> {
    for client in ["alice", "alice", "alice", "alice", "alice", "bob"] {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /{client} HTTP/1.1\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let mut head = response.lines().take_while(|line| !line.is_empty());
        let status = head.next().unwrap_or("nothing");
        let wait = head.find(|line| line.starts_with("Retry-After"));
        println!("{client}: {status} {}", wait.unwrap_or_default());
    }
    Ok(())
}
