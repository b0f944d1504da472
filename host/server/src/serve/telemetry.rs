//! Logs, as JSON on stderr, and traces over OTLP where a collector is named.

use std::panic::PanicHookInfo;

use anyhow::{Context, Result};
use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Sends what is left when the service ends.
pub struct Telemetry(Option<SdkTracerProvider>);

/// Begins both. Outside of any runtime, since what exports has one of its own.
pub fn begin(logged: &str, collector: Option<&str>) -> Result<Telemetry> {
    let logged = EnvFilter::try_new(logged).with_context(|| format!("`--log {logged}`"))?;
    let logs =
        tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr).with_filter(logged);
    let provider = collector.map(provider).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("tollgate");
        let own = tracing_subscriber::filter::Targets::new();
        let own = own.with_target(TRACED, tracing::Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(own)
    });
    tracing_subscriber::registry().with(logs).with(traces).init();
    std::panic::set_hook(Box::new(panicked));
    Ok(Telemetry(provider))
}

/// A panic is logged as everything else is.
fn panicked(panic: &PanicHookInfo<'_>) {
    let words = panic.payload_as_str().unwrap_or("it does not say why");
    let place = panic.location().map(ToString::to_string);
    tracing::error!(panic = words, place, "something is broken: report it");
}

/// A request's span goes on with the caller's trace, where it names one: `traceparent`, W3C.
pub fn go_on(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Named(headers));
        // Where nothing is traced there is nothing to go on with.
        let _ = span.set_parent(parent);
    }
}

struct Named<'a>(&'a HeaderMap);

impl Extractor for Named<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// What is traced; logs tell of it at the level `debug`.
pub const TRACED: &str = "tollgate::request";

fn provider(collector: &str) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_http().with_endpoint(collector).build();
    let exporter = exporter.with_context(|| format!("cannot export to `{collector}`"))?;
    let resource = Resource::builder().with_service_name("tollgate").build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "some traces were not exported");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_logged_as_json() {
        let said = Said::default();
        let writer = said.clone();
        let logs = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        let broken = tracing::subscriber::with_default(logs, || {
            std::panic::catch_unwind(|| panic!("of {}", "a test"))
        });
        std::panic::set_hook(before);
        assert!(broken.is_err());
        let said = said.0.lock().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(
            (&line["level"], &line["fields"]["panic"]),
            (&"ERROR".into(), &"of a test".into())
        );
        assert!(line["fields"]["place"].as_str().unwrap().contains("telemetry.rs"), "{line}");
    }
}
