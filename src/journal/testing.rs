//! What is told, for tests that look at its fields.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Keeps the fields of each event.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Kept {
    /// What is told while `act` runs.
    pub(super) fn during(act: impl FnOnce()) -> Vec<BTreeMap<&'static str, String>> {
        let kept = Self::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), act);
        std::mem::take(&mut kept.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}
