//! Two limits on each request, one per user and one for all users together, paid all or none:
//! `cargo run -p leasehold --example two_limits`.

use leasehold::Limiter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::builder()
        .limit("per-user", "1/min burst 4")
        .limit("global", "1/min burst 6")
        .build()?;
    for user in ["alice", "bob"] {
        for request in 1..=5 {
            let costs = [(("per-user", user), 1), (("global", "everybody"), 1)];
            match limiter.acquire_all(&costs).await.check() {
                Ok(_) => println!("{user}'s request {request}: go ahead"),
                Err(denial) => println!("{user}'s request {request}: {denial}"),
            }
        }
    }

    // Bob was denied by the global limit, and paid nothing for it under his own.
    for user in ["alice", "bob"] {
        let own = limiter.peek(("per-user", user)).await?;
        println!("{user} has {} of 4 left", own.free + own.held);
    }
    limiter.shutdown().await?;
    Ok(())
}
