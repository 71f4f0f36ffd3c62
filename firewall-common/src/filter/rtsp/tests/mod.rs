//! Conversations: what must live, what must be killed, and that neither depends on the cut of segments.

mod conversations;
mod cuts;
mod driver;
mod joining;
