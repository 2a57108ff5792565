//! Power cuts at random moments, while a client changes the queue as quickly as it can.
//!
//! The state directory is on a disk of its own, of which every write and flush is recorded. Each cut takes the record up to a random
//! entry: what was flushed by then is there, what was not is there, is not, or in part. The file system's journal is then replayed
//! as a boot would, and the list read by the code of the broker. It must be the list after the last change that had been
//! acknowledged, or after one that came later.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use shmooze::store::{Store, file_in};
use shmooze_test_machine::{Machine, Record};

/// Changes that the client makes.
const CHANGES: usize = 120;

/// Numbers that look random and are the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a program of the host; answers its exit status.
fn host(program: &str, arguments: &[&str]) -> i32 {
    let output = Command::new(program).args(arguments).output().unwrap();
    output.status.code().unwrap_or(-1)
}

pub fn in_the_midst_of_writing(machine: &Machine) {
    let cuts = number("SHMOOZE_CUTS").unwrap_or(3);
    let seed = number("SHMOOZE_SEED").unwrap_or_else(|| u64::from(std::process::id()) + 1);
    println!("SHMOOZE_SEED={seed} SHMOOZE_CUTS={cuts}");
    let image = machine.folder().join("state.image");
    assert_eq!(host("mke2fs", &["-q", "-t", "ext4", &image.display().to_string(), "64M"]), 0);
    let disk = machine.attach(&image);
    machine
        .shell(
            "until [ -e /dev/disk/by-id/virtio-recorded ]; do udevadm settle; done
             mkdir -p /var/lib/shmooze && mount /dev/disk/by-id/virtio-recorded /var/lib/shmooze
             systemctl start shmooze-queue.socket",
        )
        .success();
    machine.write("/opt/client.py", include_str!("client.py"));
    let client = ["python3", "/opt/client.py", &CHANGES.to_string(), &seed.to_string()];
    let mut client = machine.command(&client).within(Duration::from_secs(60)).spawn();
    // What was acknowledged, and how much the disk had recorded when that was heard of, which is later.
    let (mut states, mut heard) = (vec![Vec::<String>::new()], Vec::new());
    let begun = Instant::now();
    while let Some(line) = client.line(Duration::from_secs(60)) {
        heard.push(disk.position().unwrap());
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let before = states.last().unwrap().iter().filter(|uid| !words.contains(uid)).cloned();
        states.push(match &*words[0] {
            "add" => before.chain(words[1..].iter().cloned()).collect(),
            "rm" => before.collect(),
            _ => words[1..].iter().cloned().chain(before).collect(),
        });
    }
    assert_eq!(heard.len(), CHANGES, "the client did not get so far");
    let record = disk.record().unwrap();
    let took = begun.elapsed().as_secs_f64();
    println!("{CHANGES} changes in {took:.1} s: {} writes and flushes, {} of them flushes", record.len(), record.flushes());
    assert!(record.flushes() > CHANGES, "nothing was flushed");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut behind, mut ahead) = (0, 0);
    for cut in 0..cuts {
        let entries = usize::try_from(random.below(record.len() as u64 + 1)).unwrap();
        let acknowledged = heard.iter().filter(|position| record.entries_at(**position) <= entries).count();
        let stored = after(&record, entries, folder.path(), &mut random);
        let Some(at) = states.iter().skip(acknowledged).position(|state| *state == stored) else {
            panic!(
                "cut {cut}, after {entries} of {} entries: {acknowledged} changes were acknowledged, so the list is at least {:?}, and \
                 it is {stored:?}",
                record.len(),
                states[acknowledged]
            );
        };
        ahead += at;
        behind += usize::from(at == 0);
    }
    println!(
        "{cuts} power cuts: nothing acknowledged is missing; {behind} lists as acknowledged last, the others {ahead} changes ahead in all"
    );
}

/// The list after a power cut.
fn after(record: &Record, entries: usize, folder: &Path, random: &mut Random) -> Vec<String> {
    let image = folder.join("image");
    record.leave(entries, &image, &mut |bound| random.below(bound)).unwrap();
    let shown = image.display().to_string();
    // Replays the journal, as the mount at the next boot does.
    let checked = host("e2fsck", &["-f", "-y", &shown]);
    assert!(checked & !1 == 0, "the file system cannot be repaired after {entries} entries: e2fsck ends with {checked}");
    let place = folder.join("list");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir(&place).unwrap();
    let file = file_in(&place, "queue");
    for end in ["", "-wal"] {
        let to = format!("{}{end}", file.display());
        host("debugfs", &["-R", &format!("dump /shmooze-queue/list-queue.sqlite3{end} {to}"), &shown]);
    }
    let (store, list) = Store::open(&file, "queue").unwrap();
    let kept_aside =
        std::fs::read_dir(&place).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("unreadable"));
    assert!(!kept_aside, "the list cannot be read after {entries} entries");
    drop(store);
    list.modules().map(|module| module.uid.to_string()).collect()
}
