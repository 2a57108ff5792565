//! What only makes sense in root's manager.
//!
//! Under a user manager there is nobody else whom modules could be; and it waits for a bus that crashed until the time for
//! authentication is over, which is 90 s: so does everything that the tests ask of it.

use std::sync::Arc;

use nix::unistd::User;
use shmooze::scope::{Exit, Reached};

use crate::trouble::{FORGET, under_load};
use crate::world::{World, ended, eventually};

#[tokio::test]
async fn another_user() {
    let Some(world) = World::new("user").await else { return };
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    // A process that is forked for it, and one that waited for whatever comes.
    for waits in [false, true] {
        eventually("one waits", || !waits || world.house.warm() == 1).await;
        let mut spec = world.spec("id -u >$dir/id; id -G >$dir/groups");
        spec.program.user = Some(shmooze::scope::User { name: "nobody".into(), uid, gid });
        let mut module = world.launch(spec).await;
        assert_eq!(module.gone(&world).await, ended(Exit::Status(0), Reached::Exit));
        for (name, id) in [("id", uid), ("groups", gid)] {
            assert_eq!(std::fs::read_to_string(world.file(name)).unwrap().trim(), id.to_string());
            std::fs::remove_file(world.file(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_module_printed_just_before_its_end_is_booked_to_its_scope() {
    let Some(world) = World::new("last").await else { return };
    for _ in 0..5 {
        let mut module = world.launch(world.spec("echo main; sh -c 'echo child'")).await;
        module.gone(&world).await;
        // Journald takes the word of root's house for it, and nobody else's.
        eventually("two lines", || world.journal(&module).len() == 2).await;
    }
}

#[tokio::test]
async fn a_crash_of_the_bus_under_load() {
    let Some(world) = World::alone("crash").await.map(Arc::new) else { return };
    under_load(&world, 4, &[FORGET, &["kill", "-s", "KILL", "dbus.service"]]).await;
}
