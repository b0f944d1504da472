//! Logs, as JSON on stderr, and traces over OTLP where a collector is named.

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Sends what is left when the service ends.
pub struct Telemetry(Option<SdkTracerProvider>);

/// What is logged, unless `TOLLGATE_LOG` says otherwise.
const LOGGED: &str = "info";

/// Begins both. Outside of any runtime, since what exports has one of its own.
pub fn begin(collector: Option<&str>) -> Result<Telemetry> {
    let logged = EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| LOGGED.into());
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
    Ok(Telemetry(provider))
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
