//! What the fuzz targets check. The plain test `tests/hostile.rs` checks the same, with the corpus that they have found.

#[path = "../../tests/hostile/head.rs"]
pub mod head;
#[path = "../../tests/hostile/line.rs"]
pub mod line;
#[path = "../../tests/hostile/request.rs"]
pub mod request;
#[path = "../../tests/hostile/sentence.rs"]
mod sentence;
#[path = "../../tests/hostile/settings.rs"]
pub mod settings;
#[path = "../../tests/hostile/state.rs"]
pub mod state;
#[path = "../../tests/hostile/tokens.rs"]
pub mod tokens;
