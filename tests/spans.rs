//! The span of each run: what it says, and what it is part of.

mod support;

use std::sync::{Arc, Mutex};

use rust_supervisor::{
    SupervisorSpec,
    test_util::{TestTree, by},
};
use support::{Switchboard, within};
use tracing::{
    Instrument, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// The runs' spans in short, each with the name of what it is part of.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<String>>>);

impl Runs {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Runs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.name() != "supervisor.run" {
            return;
        }
        assert_eq!(metadata.target(), "rust_supervisor");
        let span = ctx.span(id).unwrap();
        let parent = span.parent().map_or("nothing", |parent| parent.name());
        let mut fields = Fields(format!("in {parent}:"));
        attributes.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_part_of_what_its_child_was_created_in_whoever_restarts_it() {
    let runs = Runs::default();
    let subscriber = tracing_subscriber::registry().with(runs.clone());
    let _installed = tracing::subscriber::set_default(subscriber);
    let board = Switchboard::new();
    let below = SupervisorSpec::one_for_one("n").child(board.child("x"));
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .supervisor(below)
        .pool(1, {
            let board = board.clone();
            move |_| board.child("p")
        });
    let tree = TestTree::start(spec)
        .instrument(tracing::info_span!("main"))
        .await;
    tree.until_running("p/0", 1).await;
    let mut told = runs.take();
    told.sort();
    assert_eq!(
        told,
        [
            r#"in main: path="/a" generation=1 attempt=1"#,
            r#"in main: path="/n" generation=1 attempt=1"#,
            r#"in main: path="/n/x" generation=1 attempt=1"#,
            r#"in main: path="/p" generation=1 attempt=1"#,
            r#"in main: path="/p/0" generation=1 attempt=1"#,
        ]
    );
    let request = tracing::info_span!("request");
    within(
        tree.add_child("/n", board.child("y"), &by())
            .instrument(request.clone()),
    )
    .await
    .unwrap();
    within(tree.scale_child("p", 2, &by()).instrument(request.clone()))
        .await
        .unwrap();
    within(tree.restart_child("a", &by()).instrument(request))
        .await
        .unwrap();
    tree.until_running("a", 2).await;
    board.fail("y");
    tree.until_running("n/y", 2).await;
    assert_eq!(
        runs.take(),
        [
            r#"in request: path="/n/y" generation=1 attempt=1"#,
            r#"in request: path="/p/1" generation=1 attempt=1"#,
            r#"in main: path="/a" generation=2 attempt=1"#,
            r#"in request: path="/n/y" generation=2 attempt=2"#,
        ]
    );
    tree.shutdown_clean().await;
}
