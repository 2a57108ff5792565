//! What the services could do if they were taken over.

use shmooze_test_machine::Machine;

/// What `systemd-analyze security` may say of a service at most, in tenths: 0 is best, 100 worst.
const THRESHOLDS: [(&str, &str); 4] =
    [("shmooze-gateway", "20"), ("shmooze-queue", "20"), ("shmooze-pool", "20"), ("shmooze-launcher", "96")];

pub fn exposure(machine: &Machine) {
    for (unit, threshold) in THRESHOLDS {
        let unit = format!("{unit}.service");
        let analysis = machine.run(&["systemd-analyze", "security", "--no-pager", "--threshold", threshold, &unit]);
        let said = analysis.text();
        println!("{}", said.lines().last().unwrap_or_default());
        assert_eq!(analysis.status, 0, "{said}");
    }
}
