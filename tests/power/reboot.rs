//! A list after `systemctl stop`, and after a real reboot.

use serde_json::{Value, json};
use shmooze_test_machine::Machine;

use super::host;

/// Uid, arguments and state of a module.
type Shown = (String, Value, Value);

/// The queue with its arguments and states, and the background.
fn look(machine: &Machine) -> Option<(Vec<Shown>, Value)> {
    let ask = |request: &Value| -> Option<Value> {
        let output = machine.run(&["shmz", "--json", "--timeout", "60000", "send", "queue", &request.to_string()]);
        serde_json::from_str(&output.text()).ok()
    };
    let wanted = json!({"shows": ["init", "state"]});
    let list = ask(&json!({"cmd": "queue", "args": {"parameters": wanted}}))?;
    let list = list.get("result").unwrap_or(&list).as_array()?.clone();
    let item = |item: &Value| {
        let of = |name: &str| item["parameters"][name].clone();
        (item["uid"].as_str().unwrap_or_default().to_owned(), of("init"), of("state"))
    };
    let background = ask(&json!({"cmd": "bg", "args": {}}))?;
    let background = background.get("result").unwrap_or(&background)["uid"].clone();
    Some((list.iter().map(item).collect(), background))
}

pub fn comes_back(machine: &Machine) {
    // Whatever was done to it before.
    machine
        .shell("systemctl stop shmooze-queue.service shmooze-queue.socket; umount /var/lib/shmooze; rm -rf /var/lib/shmooze/*");
    machine.run(&["systemctl", "enable", "shmooze.target"]);
    machine.run(&["systemctl", "start", "shmooze.target", "shmooze-queue.socket"]).success();
    let add = |words: &[&str]| host::shmz(machine, &[&["--service", "queue"], words].concat());
    let added: Vec<String> = ["1", "2", "3"].iter().map(|number| add(&["add", "shows", &format!("number={number}")])).collect();
    add(&["set_bg", "shows", "number=0"]);
    add(&["mv", &added[2]]);
    let expected =
        [(2, json!(3)), (0, json!(1)), (1, json!(2))].map(|(at, number)| (added[at].clone(), json!({"number": number})));
    let mut background = Value::Null;
    let mut is_back = |what: &str| {
        let mut seen = None;
        host::eventually(what, || {
            seen = look(machine);
            let Some((list, now)) = &seen else { return false };
            let inits: Vec<_> = list.iter().map(|(uid, init, _)| (uid.clone(), init.clone())).collect();
            let is_same = background.is_null() || background == *now;
            inits == expected && is_same && !now.is_null() && list[0].2 == "play"
        });
        background = seen.unwrap().1;
    };
    is_back("the list is as it was made");
    machine.run(&["systemctl", "stop", "shmooze-queue.service"]).success();
    assert!(!host::is_active(machine, "shmooze-queue.service"));
    machine.run(&["systemctl", "start", "shmooze-queue.service"]).success();
    is_back("the list is back after a stop");
    machine.reboot();
    // Nobody has asked for anything.
    host::eventually("the service is started at boot", || host::is_active(machine, "shmooze-queue.service"));
    is_back("the list is back after a reboot");
    let scopes = host::scopes(machine).len();
    assert_eq!(scopes, 4, "three and the background");
}
