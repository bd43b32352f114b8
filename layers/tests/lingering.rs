//! A run whose helpers cannot be ended.

use std::sync::{Arc, Mutex, mpsc};

use supervisor_layers::{ChildStatus, RestartLayer, TaskContext, TaskFactoryExt, secs, service_fn};
use tower::ServiceBuilder;

#[tokio::test(start_paused = true)]
async fn a_thread_that_goes_on_after_its_run_leaves_the_child_lingering_until_it_returns() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(move |ctx: TaskContext| {
            let gone = gone.clone();
            async move {
                let gone = gone.lock().unwrap().take();
                match gone {
                    // The run ends when its thread has begun: one that has not is never begun.
                    Some(gone) => {
                        let (begins, begun) = tokio::sync::oneshot::channel();
                        let thread = ctx.spawn_blocking(move || {
                            let _ = begins.send(());
                            gone.recv()
                        });
                        begun.await.unwrap();
                        drop(thread);
                    }
                    None => ctx.cancelled().await,
                }
            }
        }));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    while ctx.gate().status() != (ChildStatus::Stopping { cause: None }) {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(secs(2)).await;
    assert_eq!(ctx.gate().status(), ChildStatus::Lingering);
    assert_eq!(ctx.snapshot().generation, 1);
    drop(go);
    ctx.gate().ran_again(1).await.unwrap();
    ctx.gate().shutdown();
    life.await.unwrap().unwrap();
}
