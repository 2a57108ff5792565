//! How long a launch takes. Not a test of the machine: run it with `--ignored --nocapture latency`.

use std::time::{Duration, Instant};

use shmooze::scope::{ProcessGroup, Scopes as _, State};

use crate::world::{World, shim};

const LAUNCHES: usize = 300;

#[tokio::test]
#[ignore = "measures, and takes its time"]
async fn latency() {
    let Some(world) = World::alone("latency").await else { return };
    println!("systemd {}", world.house.probe().await.unwrap());
    for at_once in [1, 8, 32] {
        let (begun, mut times) = (Instant::now(), Vec::new());
        let mut ends = Vec::new();
        for _ in 0..LAUNCHES / at_once {
            let mut launches = tokio::task::JoinSet::new();
            for _ in 0..at_once {
                let (house, spec) = (world.house.clone(), world.spec("exec sleep 1000"));
                launches.spawn(async move {
                    let begun = Instant::now();
                    let launched = house.launch(spec.clone()).await.unwrap();
                    (begun.elapsed(), spec.uid, launched)
                });
            }
            for (took, uid, mut launched) in launches.join_all().await {
                times.push(took);
                let asked = Instant::now();
                world.house.stop(uid).await.unwrap();
                launched.state.wait_for(State::is_gone).await.unwrap();
                ends.push(asked.elapsed());
            }
        }
        show(&format!("launch, {at_once} at once"), times);
        show(&format!("stop until gone, after {at_once} at once"), ends);
        println!("    {:.0} modules a second begun and ended", LAUNCHES as f64 / begun.elapsed().as_secs_f64());
    }
    let house = ProcessGroup::new(shim());
    let mut times = Vec::new();
    for _ in 0..LAUNCHES {
        let spec = world.spec("exec sleep 1000");
        let begun = Instant::now();
        let mut launched = house.launch(spec.clone()).await.unwrap();
        times.push(begun.elapsed());
        house.stop(spec.uid).await.unwrap();
        launched.state.wait_for(State::is_gone).await.unwrap();
    }
    show("launch without a scope", times);
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
}
