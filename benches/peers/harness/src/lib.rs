//! What every program here does alike: it is called with an operation and a size, does that once, and prints what it
//! took as one line of JSON. A program that does not know an operation says so and leaves.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::Notify;

/// What an operation took.
pub struct Taken {
    values: Vec<(&'static str, f64)>,
}

impl Taken {
    /// So long in all, for so many.
    pub fn each(time: Duration, of: usize) -> Self {
        Self::value("ns", time.as_nanos() as f64 / of as f64)
    }

    /// One figure.
    pub fn value(name: &'static str, value: f64) -> Self {
        Self {
            values: vec![(name, value)],
        }
    }

    /// The median and the 99th percentile of single times.
    pub fn spread(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_nanos() as f64;
        Self {
            values: vec![("p50_ns", at(50)), ("p99_ns", at(99))],
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Taken> + Send>>;

/// An operation by its name.
pub struct Operation {
    name: &'static str,
    work: fn(usize) -> Work,
}

impl Operation {
    pub const fn new(name: &'static str, work: fn(usize) -> Work) -> Self {
        Self { name, work }
    }
}

/// Makes an operation of an async function of a size.
#[macro_export]
macro_rules! operations {
    ($($name:literal => $work:path),* $(,)?) => {
        &[$($crate::Operation::new($name, |n| Box::pin($work(n)))),*]
    };
}

/// Does what the command line says, on the runtime that all programs here have.
pub fn run(operations: &[Operation]) {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, size] = arguments.as_slice() else {
        panic!("OPERATION SIZE");
    };
    let size: usize = size.parse().expect("a size");
    let Some(operation) = operations.iter().find(|known| known.name == name) else {
        println!("{}", json!({"unknown": name}));
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // On a worker thread, as what commands and watches children is in a program.
    let work = runtime.spawn((operation.work)(size));
    let taken = runtime.block_on(work).expect("it was measured");
    let values: serde_json::Map<String, serde_json::Value> = taken
        .values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    println!(
        "{}",
        json!({"operation": name, "size": size, "taken": values})
    );
    runtime.shutdown_background();
}

/// Leaves without a figure, for a size that the peer cannot do.
pub fn leave_out(why: &str) -> ! {
    println!("{}", json!({"left_out": why}));
    std::process::exit(0)
}

/// Counts what was really done, and wakes who waits for it.
#[derive(Default)]
pub struct Done {
    count: AtomicUsize,
    wanted: AtomicUsize,
    enough: Notify,
}

impl Done {
    pub fn new() -> Arc<Self> {
        let done = Self::default();
        done.wanted.store(usize::MAX, Ordering::Relaxed);
        Arc::new(done)
    }

    /// One more.
    pub fn one(&self) -> usize {
        // Either this sees what is wanted or whoever wants it sees this one: in one order with those below.
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.wanted.load(Ordering::SeqCst) {
            self.enough.notify_one();
        }
        count
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until there are so many.
    pub async fn reach(&self, count: usize) {
        self.wanted.store(count, Ordering::SeqCst);
        while self.count() < count {
            self.enough.notified().await;
        }
        self.wanted.store(usize::MAX, Ordering::SeqCst);
    }
}

/// Keeps both threads at work for a while, before what is over in a millisecond: a kernel gives a thread that has slept no
/// processor of its own so soon, or does, whatever the program. A shutdown of a thousand took half as long again, or not.
pub async fn warm_up() {
    let until = Instant::now() + Duration::from_millis(20);
    let busy = || async move {
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    let threads = [tokio::spawn(busy()), tokio::spawn(busy())];
    for thread in threads {
        thread.await.expect("it ends");
    }
}

/// How often a child is added and removed, whatever the size: ten times as many as are over before the threads of a
/// program have settled, and the memory for its history has been touched.
pub const ADDITIONS: usize = 50_000;
/// How often a crash loop is let go round, whatever the size.
pub const RESTARTS: usize = 200_000;
/// How many single failures are timed.
pub const FAILURES: usize = 1_000;

/// The times from a failure to the next run: `fail` has it fail and waits until it runs again.
pub async fn failures<F: Future<Output = Duration>>(mut fail: impl FnMut() -> F) -> Taken {
    let mut times = Vec::with_capacity(FAILURES);
    for _ in 0..FAILURES {
        tokio::time::sleep(Duration::from_micros(500)).await;
        times.push(fail().await);
    }
    Taken::spread(times)
}

/// When a child failed: noted by the failing run, read by the next one.
#[derive(Default)]
pub struct FailedAt(std::sync::Mutex<Option<Instant>>);

impl FailedAt {
    pub fn now(&self) {
        *self.0.lock().unwrap() = Some(Instant::now());
    }

    pub fn elapsed(&self) -> Option<Duration> {
        self.0.lock().unwrap().take().map(|at| at.elapsed())
    }
}

/// Resident memory in bytes, where that can be read; without it there is no figure.
pub fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok());
    kib.expect("resident memory") * 1024
}
