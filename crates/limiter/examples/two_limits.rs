//! Two limits on each request, one per user and one for all users together, paid all or none:
//! `cargo run -p leasehold --example two_limits`.

use leasehold::{KeyRef, Limiter};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::builder()
        .limit("per-user", "1/min burst 4")
        .limit("global", "1/min burst 6")
        .build()?;
    // Looked up once, at the start: a key names its limit by number.
    let per_user = limiter.limit("per-user").ok_or("it was added above")?;
    let global = limiter.limit("global").ok_or("it was added above")?;

    for user in ["alice", "bob"] {
        for request in 1..=5 {
            let costs = [
                (KeyRef::from((per_user, user)), 1),
                (KeyRef::from((global, "everybody")), 1),
            ];
            let verdict = limiter.acquire_all(&costs).await;
            let said = if verdict.is_allowed() {
                "allowed"
            } else {
                "denied"
            };
            println!("{user}'s request {request}: {said}");
        }
    }

    // Bob was denied by the global limit, and paid nothing for it under his own.
    for user in ["alice", "bob"] {
        let own = limiter.peek((per_user, user)).await?;
        println!("{user} has {} of 4 left", own.free + own.held);
    }
    limiter.shutdown().await?;
    Ok(())
}
