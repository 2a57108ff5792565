//! What has changed of late, for those who follow a list: changes in the order in which they happened, each with its
//! revision.
//!
//! ```text
//!   driver ─────publish─▶ differences ─╮
//!   a module's task ─▶ touched ────────┼─▶ the last changes ─▶ whoever watches
//!   a command to a module ─▶ log ──────╯   (count and bytes)
//! ```
//!
//! Nothing is kept while nobody watches, nor for longer than [`KEPT_FOR`] after that; and no timer runs here. What a module
//! announces is noted by name and looked at when somebody waits for it, at most once in [`PACE`] for each module: a module
//! that announces without end costs those who watch twenty changes a second, and the others nothing.
//!
//! **Invariants.** Revisions grow and none stands for two things, also from one process to the next: the first is the time in
//! µs. Who has seen everything up to a revision that is [kept](Changes::since) misses nothing afterwards.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::events;
use crate::module::{Changed, Handle};
use crate::protocol::Uid;

/// Changes that are kept.
const MOST_CHANGES: usize = 4096;
/// Bytes that they may have together. The last is kept however long it is.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// How long changes are kept when nobody watches any more, so that who comes back misses nothing.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The time between two changes of one module's parameters.
pub(super) const PACE: Duration = Duration::from_millis(50);
/// Bytes of changes that are handed out at once; one that is longer comes alone.
const PORTION: usize = 1024 * 1024;

/// What is new since some revision.
#[derive(Debug)]
pub(super) enum Since {
    /// These changes, and the revision of the last of them.
    Changes(u64, Vec<Arc<str>>),
    /// Nothing; something will be at this time, if at all known.
    Nothing(Option<Instant>),
    /// That is not known any more, or never was: a new beginning is needed.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Changes {
    /// Of the last change.
    revision: u64,
    /// Changes after this one are all in `kept`.
    floor: u64,
    kept: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    is_on: bool,
    /// Who waits now.
    watching: usize,
    /// When the last of them had its answer.
    left: Option<Instant>,
    /// Modules whose parameters have changed, or had within [`PACE`].
    touched: HashMap<Uid, Touched>,
    /// Modules that are off the list and may have processes.
    ending: HashSet<Uid>,
}

#[derive(Debug)]
struct Touched {
    module: Arc<Handle>,
    is_new: bool,
    shown: Option<Instant>,
}

impl Default for Changes {
    fn default() -> Self {
        // A number that JavaScript has, too, for another two hundred years.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let revision = u64::try_from(now).unwrap_or_default();
        Self {
            revision,
            floor: revision,
            kept: VecDeque::new(),
            bytes: 0,
            is_on: false,
            watching: 0,
            left: None,
            touched: HashMap::new(),
            ending: HashSet::new(),
        }
    }
}

impl Changes {
    /// The revision of the last change.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Goes on after `revision`, where that is later.
    pub(super) fn resume(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        self.floor = self.revision;
    }

    /// Whether changes are kept; no longer, where nobody has watched for a while.
    pub(super) fn are_kept(&mut self) -> bool {
        if self.is_on && self.watching == 0 && self.left.is_none_or(|left| left.elapsed() > KEPT_FOR) {
            self.is_on = false;
            self.forget();
        }
        self.is_on
    }

    /// Nobody goes on from before this.
    pub(super) fn forget(&mut self) {
        self.revision += 1;
        self.floor = self.revision;
        self.kept = VecDeque::new();
        self.bytes = 0;
        self.ending.clear();
    }

    /// The next change, one event.
    pub(super) fn push(&mut self, event: &str, data: &[u8]) {
        self.revision += 1;
        let text: Arc<str> = events::text(event, self.revision, data).into();
        self.bytes += text.len();
        self.kept.push_back((self.revision, text));
        while self.kept.len() > MOST_CHANGES || (self.bytes > MOST_BYTES && self.kept.len() > 1) {
            let Some((revision, text)) = self.kept.pop_front() else { return };
            self.bytes -= text.len();
            self.floor = revision;
        }
    }

    /// Somebody begins to watch.
    pub(super) fn begin(&mut self) {
        self.watching += 1;
        if !self.is_on {
            self.is_on = true;
            self.forget();
        }
    }

    /// Somebody has his answer.
    pub(super) fn end(&mut self) {
        self.watching = self.watching.saturating_sub(1);
        self.left = Some(Instant::now());
    }

    /// What came after `revision`; `is_listed` tells which modules are known to those who watch.
    pub(super) fn since(&mut self, revision: Option<u64>, is_listed: impl Fn(Uid) -> bool) -> Since {
        let due = self.show_touched(is_listed);
        let Some(revision) = revision.filter(|revision| (self.floor..=self.revision).contains(revision)) else {
            return Since::Unknown;
        };
        if revision == self.revision {
            return Since::Nothing(due);
        }
        let first = self.kept.partition_point(|(known, _)| *known <= revision);
        let (mut last, mut bytes, mut changes) = (revision, 0, Vec::new());
        for (revision, text) in self.kept.range(first..) {
            bytes += text.len();
            if bytes > PORTION && !changes.is_empty() {
                break;
            }
            changes.push(Arc::clone(text));
            last = *revision;
        }
        Since::Changes(last, changes)
    }

    /// Parameters of `module` have changed; answers whether that is news for those who watch.
    pub(super) fn touch(&mut self, module: &Arc<Handle>) -> bool {
        let new = || Touched { module: Arc::clone(module), is_new: true, shown: None };
        self.touched.entry(module.uid()).or_insert_with(new).is_new = true;
        self.are_kept()
    }

    /// Makes changes of what modules have announced, where it is time; answers when it is the next's time.
    fn show_touched(&mut self, is_listed: impl Fn(Uid) -> bool) -> Option<Instant> {
        let now = Instant::now();
        let is_early = |touched: &Touched| touched.shown.is_some_and(|shown| shown + PACE > now);
        self.touched.retain(|_, touched| touched.is_new || is_early(touched));
        let (mut next, mut shown, mut is_too_much) = (None, Vec::new(), false);
        for (uid, touched) in self.touched.iter_mut().filter(|(_, touched)| touched.is_new) {
            if let Some(last) = touched.shown.filter(|_| is_early(touched)) {
                next = Some(next.map_or(last + PACE, |next: Instant| next.min(last + PACE)));
                continue;
            }
            touched.is_new = false;
            let changed = touched.module.parameters().take_changed();
            // Of one that is not listed yet, all will be shown when it is.
            if !is_listed(*uid) {
                continue;
            }
            touched.shown = Some(now);
            match changed {
                Changed::Nothing => {}
                Changed::Some(set, unset) => shown.push(events::parameters(*uid, &set, &unset)),
                Changed::TooMuch => is_too_much = true,
            }
        }
        for data in shown {
            self.push("parameters", &data);
        }
        if is_too_much {
            self.forget();
        }
        next
    }

    /// A module is off the list.
    pub(super) fn is_off(&mut self, uid: Uid) {
        self.touched.remove(&uid);
        self.ending.insert(uid);
    }

    /// No process of a module is left; answers whether those who watch have seen it go.
    pub(super) fn is_gone(&mut self, uid: Uid) -> bool {
        self.touched.remove(&uid);
        self.ending.remove(&uid)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc;

    use super::*;
    use crate::handover::Keeper;
    use crate::launcher::Local;
    use crate::module::{self, Birth};
    use crate::record::Record;
    use crate::scope::Recording;
    use crate::settings::{Settings, Timeouts};

    const LISTED: fn(Uid) -> bool = |_| true;

    fn since(changes: &mut Changes, revision: u64) -> String {
        match changes.since(Some(revision), LISTED) {
            Since::Changes(last, all) => format!("{} to {}", all.len(), last - revision),
            Since::Nothing(due) => format!("nothing{}", if due.is_some() { " yet" } else { "" }),
            Since::Unknown => "unknown".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_seen_everything_up_to_a_revision_goes_on_from_there() {
        let mut changes = Changes::default();
        let before = changes.revision();
        assert!(!changes.are_kept());
        changes.begin();
        let first = changes.revision();
        assert_eq!((since(&mut changes, before), since(&mut changes, first)), ("unknown".to_owned(), "nothing".to_owned()));
        for _ in 0..MOST_CHANGES + 5 {
            changes.push("log", b"{}");
        }
        assert_eq!(since(&mut changes, first + 4), "unknown");
        assert_eq!(since(&mut changes, first + 5), format!("{MOST_CHANGES} to {MOST_CHANGES}"));
        let last = changes.revision();
        assert_eq!(since(&mut changes, last + 1), "unknown", "of another process");
        // Whoever comes back soon misses nothing, whoever comes back late begins anew.
        changes.end();
        tokio::time::advance(KEPT_FOR).await;
        assert!(changes.are_kept());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!changes.are_kept());
        let last = changes.revision();
        changes.begin();
        assert_eq!(since(&mut changes, last), "unknown");
    }

    #[tokio::test(start_paused = true)]
    async fn long_changes_are_few_and_come_in_portions() {
        let mut changes = Changes::default();
        changes.begin();
        let first = changes.revision();
        let long = vec![b'1'; PORTION / 2];
        for _ in 0..4 {
            changes.push("log", &long);
        }
        assert_eq!(since(&mut changes, first), "1 to 1");
        changes.push("log", &vec![b'1'; 2 * MOST_BYTES]);
        assert_eq!(since(&mut changes, first), "unknown");
        assert_eq!(since(&mut changes, first + 4), "1 to 1");
    }

    fn module() -> Arc<Handle> {
        let settings = r#"{"ports": {"q": 1}, "services": {"q": {"kind": "queue", "modules": {"x": {"process": ["x"]}}}}}"#;
        let settings = Arc::new(Settings::parse(settings, Path::new("x.json")).unwrap());
        let launcher = Arc::new(Local::new(settings, Arc::new(Recording::new())));
        let birth = Birth {
            uid: Uid::new(),
            service: "q".into(),
            type_name: "x".into(),
            background: false,
            added: SystemTime::now(),
            args: None,
            timeouts: Timeouts::default(),
            restarts: crate::engine::Restarts::default(),
            last_parameters: None,
            max_line_bytes: 1024,
        };
        Arc::new(module::spawn(birth, launcher, Record::off(), Keeper::off(), mpsc::channel(1).0))
    }

    #[tokio::test(start_paused = true)]
    async fn parameters_of_one_module_change_twenty_times_a_second() {
        let module = module();
        let set = |text: &str| assert!(module.parameters().set(&serde_json::from_str(text).unwrap()).unwrap());
        let mut changes = Changes::default();
        set("{\"before\": 1}");
        assert!(!changes.touch(&module), "nobody watches");
        changes.begin();
        let first = changes.revision();
        assert!(matches!(changes.since(Some(first), |_| false), Since::Nothing(None)));
        assert_eq!(since(&mut changes, first), "nothing", "what came before it was listed is shown when it is");
        let mut shown = 0;
        for number in 0..990 {
            set(&format!("{{\"n\": {number}}}"));
            assert!(changes.touch(&module));
            let last = changes.revision();
            shown += usize::from(since(&mut changes, last).ends_with("1"));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The last is shown when its time has come, not lost.
        let last = changes.revision();
        assert_eq!(since(&mut changes, last), "nothing yet");
        tokio::time::advance(PACE).await;
        match changes.since(Some(last), LISTED) {
            Since::Changes(_, all) => assert!(all.len() == 1 && all[0].contains("{\"n\": 989}"), "{all:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(shown, 20);
        assert_eq!(since(&mut changes, last + 1), "nothing");
        changes.is_off(module.uid());
        assert!(changes.is_gone(module.uid()) && !changes.is_gone(module.uid()));
    }
}
