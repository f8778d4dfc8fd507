use tokio_util::sync::CancellationToken;

use super::{JobError, supervise};

#[tokio::test]
async fn a_panic_fails_the_build_and_nothing_else() {
    let token = CancellationToken::new();
    let job = async { panic!("the secret is 42") };
    let (result, interrupted) = supervise(job, &token, &token).await;
    let Err(JobError::Failed(failure)) = result else {
        unreachable!("{result:?}");
    };
    assert!(failure.message.starts_with("internal error"));
    assert!(!failure.message.contains("42"));
    assert!(!interrupted);
}

#[tokio::test]
async fn an_interrupt_ends_the_job_and_is_told_from_a_cancel() {
    for asked in [false, true] {
        let (interrupt, cancel) = (CancellationToken::new(), CancellationToken::new());
        let seen = cancel.clone();
        let held = interrupt.clone();
        let job = async move {
            held.cancelled().await;
            seen.cancelled().await;
            Err(JobError::Cancelled)
        };
        if asked {
            cancel.cancel();
        }
        interrupt.cancel();
        let (result, interrupted) = supervise(job, &interrupt, &cancel).await;
        assert!(matches!(result, Err(JobError::Cancelled)), "{result:?}");
        assert_eq!(interrupted, !asked);
    }
}
