//! A limit on starts over several children.

mod scripted;

use std::sync::{Arc, Mutex};

use scripted::{
    Ends, assert_passes_readiness_errors_through, assert_passes_through, script, settle, within,
};
use supervisor_layers::{
    BackoffLayer, BoxError, Jitter, RestartType, ServiceBuilderExt, StartRateLayer, TaskContext,
    TaskFactory, TaskFactoryExt, ms, secs, service_fn,
};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_test::mock;

type Starts = Arc<Mutex<Vec<u128>>>;

/// Notes when it starts, and runs until stopped.
fn noted(starts: &Starts) -> impl TaskFactory<Error = BoxError> {
    let (starts, origin) = (starts.clone(), Instant::now());
    service_fn(move |ctx: TaskContext| {
        starts.lock().unwrap().push(origin.elapsed().as_millis());
        async move { ctx.cancelled().await }
    })
}

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    assert_passes_through(StartRateLayer::new(2, secs(1))).await;
    assert_passes_readiness_errors_through(StartRateLayer::new(1, secs(1)));
}

#[tokio::test(start_paused = true)]
async fn over_all_children_a_burst_passes_and_the_rest_comes_evenly() {
    let storm = StartRateLayer::new(3, secs(3));
    let starts = Starts::default();
    let contexts: Vec<_> = (0..7)
        .map(|i| TaskContext::detached(&format!("child-{i}")))
        .collect();
    for ctx in &contexts {
        let child = ServiceBuilder::new()
            .restart(RestartType::Permanent)
            .layer(storm.clone())
            .service(noted(&starts));
        tokio::spawn(child.run(ctx.clone()));
    }
    tokio::time::sleep(secs(60)).await;
    assert_eq!(
        *starts.lock().unwrap(),
        [0, 0, 0, 1000, 2000, 3000, 4000],
        "seven starts at three per three seconds"
    );
    for ctx in &contexts {
        ctx.gate().shutdown();
    }
}

#[tokio::test(start_paused = true)]
async fn two_layers_are_two_limits() {
    let starts = Starts::default();
    let contexts = ["one", "another"].map(TaskContext::detached);
    for ctx in &contexts {
        let child = ServiceBuilder::new()
            .restart(RestartType::Permanent)
            .layer(StartRateLayer::new(1, secs(10)))
            .service(noted(&starts));
        tokio::spawn(child.run(ctx.clone()));
    }
    settle().await;
    assert_eq!(*starts.lock().unwrap(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_clone_of_the_service_shares_the_limit() {
    let (mut service, _child) =
        mock::spawn_layer::<TaskContext, (), _>(StartRateLayer::new(1, secs(1)));
    let mut clone = service.clone();
    assert!(service.poll_ready().is_ready());
    assert!(clone.poll_ready().is_pending());
    assert!(
        service.poll_ready().is_ready(),
        "what is reserved stays reserved"
    );
    tokio::time::advance(secs(1)).await;
    assert!(clone.is_woken() && clone.poll_ready().is_ready());
}

#[tokio::test(start_paused = true)]
async fn inside_a_backoff_the_later_of_both_counts() {
    let child = |rate| {
        ServiceBuilder::new()
            .restart(RestartType::Transient)
            .layer(BackoffLayer::constant(ms(300)).jitter(Jitter::None))
            .layer(StartRateLayer::new(1, rate))
            .service(script([
                Ends::Err.at_once(),
                Ends::Err.at_once(),
                Ends::Ok.at_once(),
            ]))
    };
    let began = Instant::now();
    within(child(ms(100)).run(TaskContext::detached("delayed")))
        .await
        .unwrap();
    assert_eq!(began.elapsed(), ms(600));
    let began = Instant::now();
    within(child(secs(1)).run(TaskContext::detached("limited")))
        .await
        .unwrap();
    assert_eq!(began.elapsed(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_wait_ends_at_once() {
    let storm = StartRateLayer::new(1, secs(3600));
    let starts = Starts::default();
    let contexts = ["first", "second"].map(TaskContext::detached);
    let lives = contexts.clone().map(|ctx| {
        let child = ServiceBuilder::new()
            .restart(RestartType::Permanent)
            .layer(storm.clone())
            .service(noted(&starts));
        tokio::spawn(child.run(ctx))
    });
    tokio::time::sleep(secs(1)).await;
    let stopped = Instant::now();
    for ctx in &contexts {
        ctx.gate().shutdown();
    }
    for life in lives {
        within(life).await.unwrap().unwrap();
    }
    assert_eq!(stopped.elapsed(), secs(0));
    assert_eq!(*starts.lock().unwrap(), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_endless_period_is_no_panic() {
    let storm = StartRateLayer::new(1, std::time::Duration::MAX);
    let (mut service, _child) = mock::spawn_layer::<TaskContext, (), _>(storm);
    assert!(service.poll_ready().is_ready());
    for _ in 0..3 {
        assert!(service.clone().poll_ready().is_pending());
    }
}

#[test]
fn within_the_burst_no_timer() {
    // A runtime without a timer: to make one would panic.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let child = ServiceBuilder::new()
        .layer(StartRateLayer::new(1, secs(1)))
        .service(service_fn(|_| async {}));
    runtime
        .block_on(child.run(TaskContext::detached("probe")))
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_comes_to_nothing_is_the_next_ones() {
    let storm = StartRateLayer::new(1, secs(100));
    let starts = Starts::default();
    let child = || {
        ServiceBuilder::new()
            .restart(RestartType::Permanent)
            .layer(storm.clone())
            .service(noted(&starts))
    };
    let contexts = ["first", "gives up", "next"].map(TaskContext::detached);
    let [first, gives_up, next] = contexts.clone();
    let mut lives = vec![tokio::spawn(child().run(first))];
    tokio::time::sleep(secs(1)).await;
    lives.push(tokio::spawn(child().run(gives_up.clone())));
    tokio::time::sleep(secs(1)).await;
    gives_up.gate().shutdown();
    tokio::time::sleep(secs(1)).await;
    lives.push(tokio::spawn(child().run(next)));
    tokio::time::sleep(secs(150)).await;
    // In milliseconds since each child was made: the second start is due at 100 s.
    assert_eq!(*starts.lock().unwrap(), [0, 97_000]);
    for ctx in &contexts {
        ctx.gate().shutdown();
    }
    for life in lives {
        within(life).await.unwrap().unwrap();
    }
}
