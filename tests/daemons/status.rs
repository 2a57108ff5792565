//! STATUS: what `systemctl status` shows.

use serde_json::json;

use super::manager::{Manager, Program};
use crate::common::{Client, World};

#[test]
fn a_queue_says_what_plays() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.start(Program::Queue, &world, Vec::new());
    manager.until("STATUS=nothing to play");
    let mut client = Client::connect(world.queue);
    let first = client.add("tiny", &json!({}));
    manager.until(&format!("STATUS=playing tiny {}, 0 waiting", &first[..8]));
    let second = client.add("echo", &json!({}));
    manager.until(&format!("STATUS=playing tiny {}, 1 waiting", &first[..8]));
    client.call("mv", &json!({"uids": [second]}));
    manager.until(&format!("STATUS=playing echo {}, 1 waiting", &second[..8]));
    client.call("rm", &json!({"uids": [first, second]}));
    manager.until("STATUS=nothing to play");
    let set = client.call("set_bg", &json!({"type": "tiny"}));
    let background = set["result"]["uid"].as_str().unwrap();
    manager.until(&format!("STATUS=playing tiny {} in the background, none waiting", &background[..8]));
}

#[test]
fn a_pool_counts() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.start(Program::Pool, &world, Vec::new());
    manager.until("STATUS=0 modules");
    let mut client = Client::connect(world.pool);
    let first = client.add("tiny", &json!({}));
    manager.until("STATUS=1 module");
    let second = client.add("tiny", &json!({}));
    manager.until("STATUS=2 modules");
    client.call("rm", &json!({"uids": [first, second]}));
    manager.until("STATUS=0 modules");
}

#[test]
fn a_module_that_dies_is_counted_no_more() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.ready(Program::Pool, &world);
    let mut client = Client::connect(world.pool);
    let uid = client.add("echo", &json!({}));
    manager.until("STATUS=1 module");
    client.call("tell_module", &json!({"uid": uid, "cmd": "die"}));
    manager.until("STATUS=0 modules");
}

#[test]
fn a_gateway_says_what_it_serves_and_where() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.start(Program::Gateway, &world, Vec::new());
    let told = manager.wait("STATUS=");
    assert_eq!(told, [format!("STATUS=serving 2 endpoints on 127.0.0.1:{}", world.gateway)]);
}

#[test]
fn a_family_says_it_of_each_member() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.ready(Program::Run, &world);
    Client::connect(world.pool).add("tiny", &json!({}));
    let gateway = format!("gateway: serving 2 endpoints on 127.0.0.1:{}", world.gateway);
    manager.until(&format!("STATUS=queue: nothing to play; pool: 1 module; {gateway}"));
}
