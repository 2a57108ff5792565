//! Asking every queue and pool how it is, once for all who want to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::COMMAND;
use crate::client::Client;
use crate::gateway::Configuration;
use crate::protocol::{Metrics, Response};

/// How long a service may take to answer, at most; those who probe wait for some seconds themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What one service answered: what it counts, `None` where it knows no such thing; or why it did not, in one sentence.
pub(super) type Answered = Result<Option<Arc<Metrics>>, Arc<str>>;

/// What each service answered.
type Surveyed = Arc<IndexMap<String, Answered>>;

/// Asks, and remembers who waits for the same answers.
#[derive(Debug)]
pub(super) struct Survey {
    clients: IndexMap<String, Arc<Client>>,
    /// What those who ask now wait for; nobody holds it any more when they have it.
    current: Mutex<Weak<OnceCell<Surveyed>>>,
}

impl Survey {
    /// Of the queues and pools of `configuration`.
    pub(super) fn new(configuration: &Configuration) -> Self {
        let patience = PATIENCE.min(configuration.service_timeout);
        let endpoint = |name: &String| Some((name.clone(), configuration.services.get(name)?.clone()));
        let endpoints = configuration.brokers.iter().filter_map(endpoint);
        let client = |endpoint| Arc::new(Client::with(endpoint, configuration.max_line_bytes, patience));
        let clients = endpoints.map(|(name, endpoint)| (name, client(endpoint))).collect();
        Self { clients, current: Mutex::default() }
    }

    /// Whether it asks a service of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.clients.contains_key(name)
    }

    /// Asks all. Who comes while others are waiting for answers waits for the same.
    pub(super) async fn ask(&self) -> Surveyed {
        let cell = {
            let mut current = self.lock();
            current.upgrade().unwrap_or_else(|| {
                let cell = Arc::default();
                *current = Arc::downgrade(&cell);
                cell
            })
        };
        let surveyed = cell.get_or_init(|| async {
            let surveyed = self.ask_all().await;
            // Who comes from now on is told how it is from now on, however many take these answers yet.
            *self.lock() = Weak::new();
            surveyed
        });
        Arc::clone(surveyed.await)
    }

    fn lock(&self) -> MutexGuard<'_, Weak<OnceCell<Surveyed>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_all(&self) -> Surveyed {
        // In the order of the settings, whoever answers first.
        let mut all: IndexMap<String, Answered> =
            self.clients.keys().map(|name| (name.clone(), Err(Arc::from("It was not asked.")))).collect();
        let mut asking = JoinSet::new();
        for (place, client) in self.clients.values().enumerate() {
            let client = Arc::clone(client);
            asking.spawn(async move { (place, ask(&client).await) });
        }
        while let Some(asked) = asking.join_next().await {
            if let Ok((place, answered)) = asked
                && let Some(one) = all.get_index_mut(place)
            {
                *one.1 = answered;
            }
        }
        Arc::new(all)
    }
}

async fn ask(client: &Client) -> Answered {
    match client.request(COMMAND, None).await {
        Ok(Response::Success(Some(result))) => Ok(serde_json::from_str(result.get()).ok().map(Arc::new)),
        // One of a release that does not know the command answers, too.
        Ok(_) => Ok(None),
        Err(error) => Err(error.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Poll;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::Endpoint;

    /// A queue that answers, how often it was asked, and who asks it.
    async fn queue() -> (Arc<AtomicUsize>, Survey) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = Endpoint::local(listener.local_addr().unwrap().port());
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while stream.read_line(&mut String::new()).await.is_ok_and(|bytes| bytes > 0) {
                        let revision = counter.fetch_add(1, Relaxed);
                        let answer = format!("{{\"success\": true, \"result\": {{\"revision\": {revision}}}}}\n");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let services = [("queue".to_owned(), endpoint)].into();
        let survey = Survey::new(&Configuration { services, brokers: vec!["queue".to_owned()], ..Configuration::default() });
        (asked, survey)
    }

    fn revision(surveyed: &Surveyed) -> u64 {
        surveyed["queue"].as_ref().unwrap().as_ref().unwrap().revision
    }

    /// Lets `future` begin.
    async fn begin<F: Future + Unpin>(future: &mut F) {
        assert!(poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await);
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_the_answers() {
        let (asked, survey) = queue().await;
        let (one, two, three) = tokio::join!(survey.ask(), survey.ask(), survey.ask());
        assert_eq!((revision(&one), asked.load(Relaxed)), (0, 1));
        assert!(Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&one, &three));
        // Though the answers are held, the next are new.
        assert_eq!((revision(&survey.ask().await), asked.load(Relaxed)), (1, 2));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_others_their_answers() {
        let (_, survey) = queue().await;
        let (mut first, mut second) = (Box::pin(survey.ask()), Box::pin(survey.ask()));
        begin(&mut first).await;
        begin(&mut second).await;
        drop(first);
        assert!(second.await["queue"].is_ok());
        // Nobody waits: the next begins anew.
        let mut alone = Box::pin(survey.ask());
        begin(&mut alone).await;
        drop(alone);
        assert!(survey.ask().await["queue"].is_ok());
    }
}
