//! A small payments service under supervision, with a saboteur in its tree.
//!
//! `cargo run --example payments -- --config examples/config/supervisor.yaml`
//!
//! Prints the live tree once a second until Ctrl-C. See [`options`] for the rest.

#![allow(unreachable_pub)] // in a program, nothing is reachable

mod books;
mod check;
mod client;
mod counted;
mod database;
mod export;
mod gateway;
mod options;
mod order;
mod reconcile;
mod report;
mod sabotage;
mod scrape;
mod settle;
mod shop;
mod stop;
mod witness;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use counted::Counter;
use options::{Options, USAGE};
use report::Report;
use rust_supervisor::{
    BoxError, CommandMeta, Factories, Supervisor, SupervisorConfig, SupervisorHandle, TaskContext,
    config::configurable::AuditBackend, secs,
};
use sabotage::SaboteurSettings;
use shop::Shop;
use stop::Stop;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use witness::Witnesses;

/// What the exit code tells.
#[repr(u8)]
enum End {
    Success = 0,
    Other = 1,
    BadConfiguration = 2,
    UncleanShutdown = 3,
    OrdersLost = 4,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let end = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) if options.help => {
            println!("{USAGE}");
            Ok(End::Success)
        }
        Ok(options) => run_until_done(&options),
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            Ok(End::BadConfiguration)
        }
    };
    ExitCode::from(end.unwrap_or_else(|error| {
        eprintln!("payments: {error}");
        End::Other
    }) as u8)
}

fn run_until_done(options: &Options) -> Result<End, BoxError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let end = runtime.block_on(run(options));
    // After an unclean shutdown a thread may be left that nothing ends: it does not keep the program.
    runtime.shutdown_timeout(secs(1));
    end
}

async fn run(options: &Options) -> Result<End, BoxError> {
    let temporary = tempfile::tempdir()?;
    let data = options.data.as_deref().unwrap_or(temporary.path());
    let shop = Arc::new(Shop::new(data.to_owned()));
    let configured = SupervisorConfig::load(&options.config).and_then(|mut config| {
        if options.aggressive {
            unleash(&mut config);
        }
        keep_records(&mut config, data);
        Ok((config.clone().into_spec(&factories(&shop))?, config))
    });
    let (spec, config) = match configured {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("{error}");
            return Ok(End::BadConfiguration);
        }
    };
    if options.check {
        println!("{}", check::Tree(&config));
        return Ok(End::Success);
    }

    std::fs::create_dir_all(data)
        .map_err(|error| format!("--data {}: cannot be made: {error}", data.display()))?;
    if let Some(file) = &options.report {
        // A report that cannot be written is told of before the run, not after it.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .map_err(|error| report_error(file, &error))?;
    }
    let metrics = scrape::install()?;
    if let Some(address) = options.metrics {
        scrape::serve(address, metrics.clone()).await?;
    }
    let mut stop = Stop::new(options.time)?;
    let handle = Supervisor::start(spec).await?;
    let counter = Counter::start(handle.subscribe_events_from(1));
    let ended_by_itself = watch(&handle, &shop, &mut stop).await;
    if !ended_by_itself {
        wind_down(&handle, &shop, &mut stop).await?;
    }
    let by = CommandMeta::new("payments", "time is up")?;
    let shutdown = handle.shutdown_tree(&by).await?;
    println!("{}\n{shutdown}", handle.current_state());

    let clean = shutdown.clean;
    let state = handle.current_state();
    let report = counter.finish().await.and_then(|counted| {
        let (journal, audit) = (data.join(JOURNAL), data.join(AUDIT));
        let witnesses =
            Witnesses::hear(&counted, &metrics.render(), &journal, &audit, &state.epoch)?;
        Report::new(&state, &counted, witnesses, shutdown, &shop)
    });
    let report = match report {
        Err(error) if !clean => {
            // What is still alive may keep the database, or the events, open.
            eprintln!("no report: {error}");
            return Ok(End::UncleanShutdown);
        }
        report => report?,
    };
    println!("{report}");
    if let Some(file) = &options.report {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)
            .map_err(|error| report_error(file, &error))?;
    }
    Ok(if !report.orders_safe() {
        End::OrdersLost
    } else if !report.shutdown.clean {
        End::UncleanShutdown
    } else if ended_by_itself || !report.agrees() {
        End::Other
    } else {
        End::Success
    })
}

const JOURNAL: &str = "journal.jsonl";
const AUDIT: &str = "audit.jsonl";

/// Events and commands are kept with the data.
fn keep_records(config: &mut SupervisorConfig, data: &Path) {
    config.observability.journal_file.path = Some(data.join(JOURNAL));
    config.audit.backend = AuditBackend::File;
    config.audit.file_path = Some(data.join(AUDIT));
}

/// Lets the saboteur do its worst, and nobody give up over it or wait for long.
fn unleash(config: &mut SupervisorConfig) {
    config.policy.max_backoff_ms = 100;
    config.policy.child_restart_limit = 1_000_000;
    config.policy.supervisor_failure_limit = 1_000_000;
    for child in &mut config.children {
        if child.factory.as_deref() == Some("saboteur") {
            child.settings = serde_json::json!(SaboteurSettings::aggressive());
        }
    }
}

fn report_error(file: &Path, error: &std::io::Error) -> String {
    format!("--report {}: cannot be written: {error}", file.display())
}

/// What the configuration can name.
fn factories(shop: &Arc<Shop>) -> Factories {
    Factories::new()
        .worker("database", child(shop, database::database))
        .worker("settle", child(shop, settle::settle))
        .worker("reconcile", child(shop, reconcile::reconcile))
        .worker("gateway", child(shop, gateway::gateway))
        .worker("client", child(shop, client::client))
        .blocking("export", child(shop, export::export))
        .worker("saboteur", child(shop, sabotage::saboteur))
}

/// One run of a child, for its context.
type Run<R> = Box<dyn Fn(TaskContext) -> R + Send + Sync>;

/// Makes a child's runs from its settings, with the shop for each.
fn child<S, R>(
    shop: &Arc<Shop>,
    run: fn(TaskContext, Arc<Shop>, S) -> R,
) -> impl Fn(S) -> Run<R> + Send + Sync + 'static
where
    S: Clone + Send + Sync + 'static,
    R: 'static,
{
    let shop = shop.clone();
    move |settings| {
        let shop = shop.clone();
        Box::new(move |ctx| run(ctx, shop.clone(), settings.clone()))
    }
}

/// Prints the tree and the books once a second, until it is to stop; says whether the tree ended before.
async fn watch(handle: &SupervisorHandle, shop: &Shop, stop: &mut Stop) -> bool {
    let mut every = interval(secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.asked() => return false,
            exit = handle.join() => {
                eprintln!("the tree has ended: {exit:?}");
                return true;
            }
            _ = every.tick() => println!("{}\n{}\n", handle.current_state(), shop.line()),
        }
    }
}

/// Ends the traffic and lets the workers catch up, so that nothing is left for the next run; the shutdown
/// alone would lose nothing either.
async fn wind_down(
    handle: &SupervisorHandle,
    shop: &Shop,
    stop: &mut Stop,
) -> Result<(), BoxError> {
    let by = CommandMeta::new("payments", "winding down")?;
    for path in ["/saboteur", "/edge/client"] {
        if let Err(error) = handle.pause_child(path, &by).await {
            eprintln!("{error}");
        }
    }
    let settled = async {
        // While the database is down, nobody knows.
        while shop.figures().map_or(1, |figures| figures.pending) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = timeout(secs(5), settled) => {}
        () = stop.asked_again() => {}
    }
    Ok(())
}
