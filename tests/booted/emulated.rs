//! What only a whole machine has: all controllers, so that limits bite, and a plug to pull.

use std::collections::HashMap;
use std::time::Duration;

use shmooze_test_machine::Machine;

use super::scopes::in_scope;

const LIMIT: Duration = Duration::from_secs(60);

pub fn controllers(machine: &Machine) {
    println!("{} started in {:.2} s", machine.kind(), machine.boot_time().as_secs_f64());
    assert_eq!(machine.systemd_version(), machine.kind().suite().systemd());
    let controllers = machine.run(&["cat", "/sys/fs/cgroup/cgroup.controllers"]).success().text();
    for controller in ["cpu", "cpuset", "io", "memory", "pids"] {
        assert!(controllers.split(' ').any(|there| there == controller), "no {controller} among {controllers}");
    }
}

/// The counters of a file such as `cpu.stat`, by name.
fn counters(text: &str) -> HashMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

pub fn memory(machine: &Machine) {
    let hungry = "python3 -c 'x = bytearray(int(\"'$1'\") * 1024 * 1024); print(len(x))'";
    let script = |megabytes: u32| format!("set -- {megabytes}; echo start; {hungry}; echo status $?");
    let limits = ["MemoryMax=64M", "MemorySwapMax=0", "OOMPolicy=continue"];
    // Half of what is allowed is fine.
    let mut modest = in_scope(machine, "modest", &limits, &script(32));
    assert_eq!(modest.line(LIMIT).as_deref(), Some("start"));
    assert_eq!(modest.line(LIMIT).as_deref(), Some("33554432"));
    // Twice as much is the end of who asks.
    let mut greedy = in_scope(machine, "greedy", &limits, &script(128));
    assert_eq!(greedy.line(LIMIT).as_deref(), Some("start"));
    assert_eq!(greedy.line(LIMIT).as_deref(), Some("status 137"));
    // The kernel names the cgroup whose limit it was.
    let kernel = machine.journal(&["--dmesg", "--output=cat"]);
    assert!(kernel.contains("oom_memcg=/system.slice/greedy.scope"), "{kernel}");
    assert!(!kernel.contains("modest.scope"), "{kernel}");
}

pub fn processor(machine: &Machine) {
    // Busy for two seconds of real time, then what the kernel has counted.
    let script = "python3 -c '
import time
end = time.monotonic() + 2
while time.monotonic() < end: pass
'; cat /sys/fs/cgroup/system.slice/slow.scope/cpu.stat; sleep 0.01; echo end";
    let mut slow = in_scope(machine, "slow", &["CPUQuota=20%"], script);
    let stat: Vec<String> = std::iter::from_fn(|| slow.line(LIMIT)).take_while(|line| line != "end").collect();
    let stat = counters(&stat.join("\n"));
    println!("throttled {} of {} periods", stat["nr_throttled"], stat["nr_periods"]);
    // What the limit allows is 20 ms in each period of 100; what was begun may go a little over.
    let share = stat["usage_usec"] / stat["nr_periods"].max(1);
    assert!(stat["nr_throttled"] >= stat["nr_periods"] / 2, "not throttled: {stat:?}");
    assert!(share <= 30_000, "{share} µs of 100,000 in a period: {stat:?}");
}

pub fn tasks(machine: &Machine) {
    let script = "python3 -c '
import os, signal
made = []
try:
    while len(made) < 50:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        made.append(pid)
except OSError as error:
    print(error.strerror)
print(len(made))
for pid in made:
    os.kill(pid, 9)
'";
    let mut fork = in_scope(machine, "fork", &["TasksMax=10"], script);
    assert_eq!(fork.line(LIMIT).as_deref(), Some("Resource temporarily unavailable"));
    // bash has put python in its own place, or is one more.
    let made: u32 = fork.line(LIMIT).unwrap().parse().unwrap();
    assert!((8..=9).contains(&made), "{made} children");
}

pub fn power_cut(machine: &Machine) {
    // A line is told only after it is on the disk.
    let script = "for ((n = 0; ; n++)); do echo $n >>/var/lib/count; sync /var/lib/count; echo $n; done";
    let mut counting = machine.command(&["bash", "-c", script]).spawn();
    let mut told = String::new();
    for _ in 0..20 {
        told = counting.line(LIMIT).unwrap();
    }
    machine.shell("cat /proc/sys/kernel/random/boot_id >/run/mark").success();
    machine.cut_power();
    assert_eq!(counting.wait(LIMIT).status, -1);
    machine.power_on();
    machine.run(&["test", "!", "-e", "/run/mark"]).success();
    let kept = String::from_utf8(machine.read("/var/lib/count")).unwrap();
    assert!(kept.lines().any(|line| line == told), "{told} was told but not kept: {kept}");
    assert!(kept.lines().enumerate().all(|(n, line)| line == n.to_string()), "half written: {kept}");
}
