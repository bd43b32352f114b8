//! A child for each connection: an echo server whose sessions come and go, are seen one by one, and end with it.

use std::net::{self, SocketAddr};

use rust_supervisor::{
    BoxError, ChildSpec, Children, CommandMeta, EventItem, EventKind, ReadinessPolicy,
    SupervisedTask, Supervisor, SupervisorError, SupervisorSpec, TaskContext, TaskResult,
    TreeEvent, ms,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Serves one connection. A run that fails is followed by none: the connection is gone.
fn session(socket: net::TcpStream, peer: SocketAddr) -> ChildSpec {
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

/// Accepts connections, and has each of them served by a child of its own. What is wrong with one of them is no
/// matter of the others.
async fn accept(ctx: TaskContext, listener: std::io::Result<net::TcpListener>) -> TaskResult {
    let listener = TcpListener::from_std(listener?)?;
    ctx.mark_ready();
    let sessions = sessions(&ctx).ok_or("the tree is gone")?;
    while let Some(accepted) = ctx.run_until_cancelled(listener.accept()).await {
        let added = match accepted.and_then(|(socket, peer)| Ok((socket.into_std()?, peer))) {
            Ok((socket, peer)) => sessions.add(session(socket, peer)).await.map(drop),
            Err(error) => {
                eprintln!("no connection: {error}");
                // Where there are too many, the next attempt is to come when some have gone.
                ctx.run_until_cancelled(tokio::time::sleep(ms(100))).await;
                continue;
            }
        };
        match added {
            Err(SupervisorError::ShuttingDown) => break,
            Err(error) => eprintln!("no session: {error}"),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn sessions(ctx: &TaskContext) -> Option<Children> {
    ctx.supervisor()?.upgrade()?.children("/sessions").ok()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Outside of the run, so that a restart listens where it did before.
    let listener = net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let acceptor = ChildSpec::worker("acceptor", move |ctx| accept(ctx, listener.try_clone()))
        .readiness(ReadinessPolicy::Explicit);
    let tree = SupervisorSpec::one_for_one("echo")
        .supervisor(SupervisorSpec::one_for_one("sessions"))
        .child(acceptor);
    let handle = Supervisor::start(tree).await?;

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
