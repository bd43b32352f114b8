//! A child for each connection: an echo server whose sessions come and go, are seen one by one, and end with it.

use std::net::SocketAddr;

use rust_supervisor::{
    BoxError, ChildSpec, Children, CommandMeta, EventItem, EventKind, ReadinessPolicy,
    SupervisedTask, Supervisor, SupervisorSpec, TaskContext, TaskResult, TreeEvent,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Serves one connection. A run that fails is followed by none: the connection is gone.
fn session(socket: std::net::TcpStream, peer: SocketAddr) -> ChildSpec {
    ChildSpec::job(peer.to_string(), move |ctx: TaskContext| {
        let socket = socket.try_clone();
        async move {
            let mut socket = TcpStream::from_std(socket?)?;
            let mut bytes = [0; 1024];
            while let Some(read) = ctx.run_until_cancelled(socket.read(&mut bytes)).await {
                match read? {
                    0 => break,
                    n => socket.write_all(&bytes[..n]).await?,
                }
            }
            TaskResult::Ok(())
        }
    })
    .temporary()
}

/// Accepts connections, and has each of them served by a child of its own.
async fn accept(ctx: TaskContext, listening: watch::Sender<Option<SocketAddr>>) -> TaskResult {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    listening.send_replace(Some(listener.local_addr()?));
    ctx.mark_ready();
    let sessions = sessions(&ctx).ok_or("the tree is gone")?;
    while let Some(accepted) = ctx.run_until_cancelled(listener.accept()).await {
        let (socket, peer) = accepted?;
        sessions.add(session(socket.into_std()?, peer)).await?;
    }
    Ok(())
}

fn sessions(ctx: &TaskContext) -> Option<Children> {
    ctx.supervisor()?.upgrade()?.children("/sessions").ok()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (listening, mut address) = watch::channel(None);
    let acceptor = ChildSpec::worker("acceptor", move |ctx| accept(ctx, listening.clone()))
        .readiness(ReadinessPolicy::Explicit);
    let tree = SupervisorSpec::one_for_one("echo")
        .supervisor(SupervisorSpec::one_for_one("sessions"))
        .child(acceptor);
    let handle = Supervisor::start(tree).await?;

    let address = *address.wait_for(Option::is_some).await?;
    let address = address.ok_or("nobody listens")?;
    let mut clients = Vec::new();
    for word in ["one", "two", "three"] {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(word.as_bytes()).await?;
        let mut echo = vec![0; word.len()];
        client.read_exact(&mut echo).await?;
        println!("{}", String::from_utf8(echo)?);
        clients.push(client);
    }
    println!("{}", handle.current_state());
    let mut events = handle.subscribe_events();
    drop(clients.pop()); // its session completes, and is forgotten
    while let Some(EventItem::Event(event)) = events.next().await {
        println!("{event}");
        if event.kind == EventKind::Tree(TreeEvent::Removed) {
            break;
        }
    }

    let by = CommandMeta::new("example", "has been seen")?;
    println!("{}", handle.shutdown_tree(&by).await?);
    Ok(())
}
