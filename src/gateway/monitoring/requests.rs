//! What is counted of the requests to one service.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::StatusCode;

/// The statuses by which requests to services are answered; all are told, also those that never were, so that the first of one is
/// seen to be an increase.
const STATUSES: [StatusCode; 11] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// What an answer may take to be counted with the others, in µs: from a list of a service that is idle to the longest that one is
/// waited for.
const BOUNDS: [u32; 13] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 10_000_000];

/// The counters of one service, which live as long as the gateway.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Requests {
    statuses: [AtomicU64; STATUSES.len()],
    /// Answered by any other status.
    other: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Requests {
    /// A request was answered so, and that took so long.
    pub(in crate::gateway) fn answered(&self, status: StatusCode, took: Duration) {
        let place = STATUSES.iter().position(|one| *one == status);
        place.and_then(|place| self.statuses.get(place)).unwrap_or(&self.other).fetch_add(1, Relaxed);
        let bucket = BOUNDS.iter().take_while(|bound| took > Duration::from_micros(u64::from(**bound))).count();
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// What was counted until now.
    pub(super) fn count(&self) -> Count {
        let statuses =
            STATUSES.iter().zip(&self.statuses).map(|(status, count)| (status.as_str().to_owned(), count.load(Relaxed)));
        let bounds = BOUNDS.iter().map(|bound| Some(f64::from(*bound) / 1e6)).chain([None]);
        Count {
            statuses: statuses.chain([("other".to_owned(), self.other.load(Relaxed))]).collect(),
            buckets: bounds.zip(self.buckets.iter().map(|count| count.load(Relaxed))).collect(),
            seconds: Duration::from_nanos(self.nanoseconds.load(Relaxed)).as_secs_f64(),
        }
    }
}

/// What was counted until some moment.
#[derive(Debug)]
pub(super) struct Count {
    /// How many requests were answered by each status.
    pub(super) statuses: Vec<(String, u64)>,
    /// How many answers took no longer than each bound, in seconds, and longer than the one before; the last has none.
    pub(super) buckets: Vec<(Option<f64>, u64)>,
    /// What all took together.
    pub(super) seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once() {
        let requests = Requests::default();
        for (status, microseconds) in
            [(StatusCode::OK, 0), (StatusCode::OK, 250), (StatusCode::OK, 251), (StatusCode::IM_A_TEAPOT, 20_000_000)]
        {
            requests.answered(status, Duration::from_micros(microseconds));
        }
        let count = requests.count();
        let statuses: Vec<_> = count.statuses.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(statuses, [&("200".to_owned(), 3), &("other".to_owned(), 1)]);
        let buckets: Vec<_> = count.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(buckets, [&(Some(0.00025), 2), &(Some(0.0005), 1), &(None, 1)]);
        assert!((count.seconds - 20.000_501).abs() < 1e-9, "{}", count.seconds);
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted());
        assert_eq!(Requests::default().count().statuses.len(), STATUSES.len() + 1);
    }
}
