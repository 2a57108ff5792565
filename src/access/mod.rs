//! Who may ask the gateway for what: hosts, origins, tokens and their levels. Pure: texts go in, verdicts come out.
//!
//! ```text
//!   the peer's address ▶ ProxyRule ─▶ a listed proxy?              no: what it says of others (X-Forwarded-…) is not looked at
//!   Host ──────────────▶ Hosts ──────▶ a name of ours?               no: no page of a foreign name gets in (DNS rebinding)
//!   Origin, Sec-Fetch ─▶ check_sender ▶ our page, no page, or listed? no: no page of another site gets in
//!   Authorization ─────▶ Tokens ─────▶ Guard ──▶ Level               none: the token is not known at this endpoint
//!   the body ──────────▶ judge ──────▶ Verdict: all of it, some of it, none of it
//! ```
//!
//! What of it is configured stands in the settings (`gateway.hosts`, `gateway.origins`, `gateway.proxies`) and in a file of tokens, which
//! `settings/` reads; `gateway/guard.rs` turns verdicts into answers. `docs/gateway.md` tells administrators all of it.
//!
//! **Invariant:** what cannot be understood is refused.

mod host;
mod judge;
mod level;
mod origin;
mod proxy;
mod token;

pub use host::{Authority, Host, HostError, HostRule, Hosts, check_host};
pub use judge::{Part, Refusal, Verdict, judge};
pub use level::Level;
pub use origin::{Origin, Scheme, Sender, SenderError, check_sender};
pub use proxy::{Peer, ProxyRule};
pub use token::{Grant, Guard, Token, Tokens};
