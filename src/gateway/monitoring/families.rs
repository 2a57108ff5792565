//! The families of metrics, as text. The table in docs/gateway.md is of the same order.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use super::requests::Count;
use super::survey::Answered;
use crate::protocol::{Counts, Metrics};

static SECONDS: Unit = Unit::Seconds;

/// Everything that is told at once.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) started: SystemTime,
    pub(super) services: Vec<OfService>,
}

/// What there is to tell of one service.
#[derive(Debug)]
pub(super) struct OfService {
    pub(super) name: String,
    /// How many browsers follow its events.
    pub(super) browsers: u64,
    pub(super) requests: Count,
    /// What it told itself, where it is a queue or pool.
    pub(super) surveyed: Option<Answered>,
}

impl OfService {
    fn told(&self) -> Option<&Metrics> {
        self.surveyed.as_ref()?.as_ref().ok()?.as_deref()
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let services = || self.services.iter();
        let told = || services().filter_map(|service| Some((service, service.told()?)));
        let encoder = &mut encoder;

        family(encoder, "shmooze_build", "What the gateway was built from.", MetricType::Info)?
            .0
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let mut all = family(encoder, "shmooze_service_up", "Whether a queue or pool answers.", MetricType::Gauge)?;
        for (service, answered) in services().filter_map(|service| Some((service, service.surveyed.as_ref()?))) {
            all.gauge(&[("service", &service.name)], u64::from(answered.is_ok()))?;
        }
        let mut all = family(encoder, "shmooze_requests", "Requests to a service that were answered.", MetricType::Counter)?;
        for service in services() {
            for (status, count) in &service.requests.statuses {
                all.counter(&[("service", &service.name), ("code", status)], *count)?;
            }
        }
        let mut all =
            family(encoder, "shmooze_event_streams", "Browsers that follow the events of a service.", MetricType::Gauge)?;
        for service in services() {
            all.gauge(&[("service", &service.name)], service.browsers)?;
        }
        let mut all = family(encoder, "shmooze_revision", "The revision of a list.", MetricType::Gauge)?;
        for (service, told) in told() {
            all.gauge(&[("service", &service.name)], told.revision)?;
        }
        let mut all =
            family(encoder, "shmooze_queue_length", "Modules in a queue, its background not counted.", MetricType::Gauge)?;
        for (service, told) in told().filter(|(_, told)| told.kind == "queue") {
            all.gauge(&[("service", &service.name)], told.length)?;
        }
        let mut all = family(encoder, "shmooze_modules", "Modules by type and state.", MetricType::Gauge)?;
        for (service, told) in told() {
            for (list, counts) in [("modules", &told.modules), ("backgrounds", &told.backgrounds)] {
                for (type_name, state, count) in pairs(counts) {
                    let labels = [("service", service.name.as_str()), ("list", list), ("type", type_name), ("state", state)];
                    all.gauge(&labels, count)?;
                }
            }
        }
        let mut all =
            family(encoder, "shmooze_module_endings", "Modules that ended, by cause and step reached.", MetricType::Counter)?;
        for (service, told) in told() {
            for (cause, reached, count) in pairs(&told.endings) {
                all.counter(&[("service", service.name.as_str()), ("cause", cause), ("reached", reached)], count)?;
            }
        }
        let mut all =
            family(encoder, "shmooze_launch_failures", "Launches of modules that came to nothing.", MetricType::Counter)?;
        for (service, told) in told() {
            all.counter(&[("service", &service.name)], told.launches.failed)?;
        }

        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        timed(encoder, "process_start_time", "When the gateway began, since 1970.", MetricType::Gauge)?
            .0
            .encode_gauge(&started)?;
        let mut all = timed(encoder, "shmooze_service_start_time", "When a queue or pool began, since 1970.", MetricType::Gauge)?;
        for (service, told) in told() {
            all.0.encode_family(&[("service", &service.name)])?.encode_gauge(&told.started)?;
        }
        let mut all = timed(encoder, "shmooze_request_duration", "From a request's head to its answer.", MetricType::Histogram)?;
        for service in services() {
            all.histogram(&[("service", &service.name)], service.requests.seconds, &service.requests.buckets)?;
        }
        let mut all = timed(
            encoder,
            "shmooze_launch_duration",
            "From asking the launcher until a module runs in its scope.",
            MetricType::Histogram,
        )?;
        for (service, told) in told() {
            all.histogram(&[("service", &service.name)], told.launches.seconds, &told.launches.buckets)?;
        }
        Ok(())
    }
}

/// All numbers by their two names.
fn pairs(counts: &Counts) -> impl Iterator<Item = (&str, &str, u64)> {
    counts.iter().flat_map(|(one, counts)| counts.iter().map(move |(other, count)| (one.as_str(), other.as_str(), *count)))
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<Family<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind).map(Family)
}

/// A family of which `_seconds` is the end of the name.
fn timed<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<Family<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, Some(&SECONDS), kind).map(Family)
}

/// A family that was begun.
struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn gauge(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn counter(&mut self, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
        self.0.encode_family(labels)?.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>)
    }

    fn histogram(&mut self, labels: &impl EncodeLabelSet, seconds: f64, buckets: &[(Option<f64>, u64)]) -> fmt::Result {
        let count = buckets.iter().map(|(_, count)| count).sum();
        let buckets: Vec<_> = buckets.iter().map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), *count)).collect();
        self.0.encode_family(labels)?.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }
}
