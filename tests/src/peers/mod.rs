//! Who speaks in the lab: real programs (GStreamer, ffmpeg), and small peers of our own for what real
//! programs do not do on demand.

pub mod audience;
pub mod bulk;
pub mod camera;
pub mod crowd;
pub mod echo;
pub mod files;
pub mod gst_player;
pub mod mailer;
pub mod pair;
pub mod ping;
pub mod player;
pub mod postfix;
pub mod pusher;
pub mod recorder;
pub mod rsyslog;
pub mod stray;
pub mod viewer;

mod poll;
mod reel;
mod rtsp_text;
