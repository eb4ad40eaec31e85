//! The shortest program that limits something: `cargo run -p leasehold --example minimal`.

use leasehold::Limiter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::builder().limit("api", "10/s burst 5").build()?;

    for request in 1..=8 {
        match limiter.acquire("user:42", 1).await.check() {
            Ok(_) => println!("request {request}: go ahead"),
            Err(denial) => println!("request {request}: {denial}"),
        }
    }

    // Gives back what is leased, so that a restart loses no capacity.
    limiter.shutdown().await?;
    Ok(())
}
