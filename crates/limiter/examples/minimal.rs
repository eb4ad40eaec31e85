//! The shortest program that limits something: `cargo run -p leasehold --example minimal`.

use leasehold::Limiter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limiter = Limiter::builder()
        .limit("api", "10/s burst 5".parse()?)
        .build()?;

    for request in 1..=8 {
        let verdict = limiter.acquire("user:42", 1).await;
        match verdict.denial() {
            None => println!("request {request}: allowed"),
            Some(denial) => println!("request {request}: denied, {}", denial.reason),
        }
    }

    // Gives back what is leased, so that a restart loses no capacity.
    limiter.shutdown().await?;
    Ok(())
}
