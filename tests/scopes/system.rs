//! What only the house in root's manager can do: under a user manager there is nobody else whom modules could be.

use nix::unistd::User;
use shmooze::scope::{Exit, Reached};

use crate::world::{World, ended};

#[tokio::test]
async fn another_user() {
    let Some(world) = World::new("user").await else { return };
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let mut spec = world.spec("id -u >$dir/id; id -G >$dir/groups");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    spec.program.user = Some(shmooze::scope::User { name: "nobody".into(), uid, gid });
    let mut module = world.launch(spec).await;
    assert_eq!(module.gone(&world).await, ended(Exit::Status(0), Reached::Exit));
    assert_eq!(std::fs::read_to_string(world.file("id")).unwrap().trim(), uid.to_string());
    assert_eq!(std::fs::read_to_string(world.file("groups")).unwrap().trim(), gid.to_string());
}
