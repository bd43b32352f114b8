//! A tree with all strategies, steered and asked through its handle.

use rust_supervisor::{
    ChildSpec, CommandMeta, EventItem, Supervisor, SupervisorError, SupervisorSpec, TaskContext, ms,
};

async fn work(ctx: TaskContext) {
    ctx.cancelled().await;
}

async fn settle(ctx: TaskContext, index: usize) {
    println!("settling in lane {index}");
    ctx.cancelled().await;
}

/// A plain function on the blocking pool looks now and then whether it is to stop.
fn export(ctx: TaskContext) {
    while !ctx.is_cancelled() {
        std::thread::park_timeout(ms(20));
    }
}

fn shop() -> SupervisorSpec {
    SupervisorSpec::one_for_one("shop")
        .supervisor(
            SupervisorSpec::rest_for_one("storage")
                .child(ChildSpec::worker("database", work))
                .pool(4, |i| {
                    ChildSpec::worker("settle", move |ctx| settle(ctx, i))
                }),
        )
        .supervisor(
            SupervisorSpec::one_for_all("edge")
                .child(ChildSpec::worker("gateway", work))
                .child(ChildSpec::worker("cache", work)),
        )
        .child(ChildSpec::blocking("export", export)) // a plain fn on the blocking pool
}

#[tokio::main]
async fn main() -> Result<(), SupervisorError> {
    let handle = Supervisor::start(shop()).await?;
    let mut events = handle.subscribe_events();

    let by = CommandMeta::new("alice", "rotating credentials")?;
    println!("{}", handle.restart_child("storage/database", &by).await?);
    println!("{}", handle.pause_child("edge/gateway", &by).await?);
    println!("{}", handle.current_state()); // a tree for people; Serialize for machines

    let result = handle.shutdown_tree(&by).await?;
    println!("{result}");
    while let Some(item) = events.next().await {
        match item {
            EventItem::Event(event) => println!("{event}"),
            EventItem::Gap { missed } => println!("({missed} events missed)"), // gaps are items, not surprises
        }
    }
    Ok(())
}
