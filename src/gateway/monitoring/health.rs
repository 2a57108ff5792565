//! `GET /healthz`.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::survey::{Answered, Survey};
use crate::gateway::{Answer, answer};
use crate::protocol::shown;

/// The gateway itself, which no service is called.
const OWN: &str = "gateway";

/// 200 where all that is asked for answers, else 503. `?service=NAME` asks for one; `gateway` lives if it answers at all, and waits
/// for nobody. Why one does not answer is told to whoever may see that.
pub(super) async fn answer(survey: &Survey, query: Option<&str>, may_see: impl Fn(&str) -> bool) -> Answer {
    let wanted = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("service="));
    let mut services = Map::new();
    let mut is_well = true;
    match wanted {
        Some(OWN) => {}
        Some(name) if !survey.knows(name) => {
            return answer::failure(StatusCode::NOT_FOUND, &format!("No queue and no pool is called {}.", shown(name)));
        }
        _ => {
            for (name, answered) in survey.ask().await.iter().filter(|(name, _)| wanted.is_none_or(|wanted| *name == wanted)) {
                is_well &= answered.is_ok();
                services.insert(name.clone(), describe(answered, || may_see(name)));
            }
        }
    }
    let (status, word) = if is_well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let mut answer = answer::json(json!({"status": word, "services": services}).to_string().into());
    *answer.status_mut() = status;
    answer
}

fn describe(answered: &Answered, may_see: impl Fn() -> bool) -> Value {
    match answered {
        Ok(_) => "ok".into(),
        Err(reason) if may_see() => (**reason).into(),
        Err(_) => "failing".into(),
    }
}
