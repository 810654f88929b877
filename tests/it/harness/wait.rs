//! Waiting for what will happen, never for time to pass. The one place of the tests that sleeps.

use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Generous: a loaded machine is slow, and a test that passes never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer; panics with `what` when there is none in time.
pub async fn wait_for<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sleep(PAUSE).await;
    }
}

/// For what a lease must pass before: ten seconds of it, and what a loaded machine adds.
pub const LONG: Duration = Duration::from_secs(60);

/// As `wait_for`, for what takes a lease or two; it asks less often, since what it asks costs more.
pub async fn wait_long<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        sleep(PAUSE * 10).await;
    }
}

/// The future's value; panics with `what` when it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}

/// True when the future has not ended after `span`: for what must not happen. The span bounds how
/// much a test can notice, not whether it passes.
pub async fn stays_pending<T>(span: Duration, future: impl Future<Output = T>) -> bool {
    timeout(span, future).await.is_err()
}
