//! What OpenTelemetry gets of a tree through the usual bridge.

mod support;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rust_supervisor::{SupervisorSpec, test_util::TestTree};
use support::Switchboard;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

fn attribute(span: &SpanData, name: &str) -> String {
    let mut found = span.attributes.iter();
    let found = found.find(|attribute| attribute.key.as_str() == name);
    found
        .unwrap_or_else(|| panic!("no {name}"))
        .value
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn a_run_is_a_span_with_its_path_and_number_in_the_trace_of_whoever_started_the_tree() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let bridge = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _installed = tracing::subscriber::set_default(tracing_subscriber::registry().with(bridge));

    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let tree = TestTree::start(spec)
        .instrument(tracing::info_span!("main"))
        .await;
    board.fail("a");
    tree.until_running("a", 2).await;
    tree.shutdown_clean().await;
    drop(tree);

    let spans = exporter.get_finished_spans().unwrap();
    let main = spans.iter().find(|span| span.name == "main").unwrap();
    let runs: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "supervisor.run")
        .map(|span| {
            assert_eq!(span.parent_span_id, main.span_context.span_id());
            assert_eq!(span.span_context.trace_id(), main.span_context.trace_id());
            let of = |name| attribute(span, name);
            (of("path"), of("generation"), of("attempt"))
        })
        .collect();
    let run = |generation: &str, attempt: &str| {
        ("/a".to_owned(), generation.to_owned(), attempt.to_owned())
    };
    assert_eq!(runs, [run("1", "1"), run("2", "2")]);
}
