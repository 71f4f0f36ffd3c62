//! A third player: the retina crate, the client of an open network video recorder (Moonfire NVR).

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use lab::{
    Host,
    peers::{
        camera::{Camera, PASSWORD, USER},
        gst_player::Played,
        player::Transport,
    },
};
use retina::{
    client::{
        Credentials, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions,
        TcpTransportOptions, TeardownPolicy, UdpTransportOptions,
    },
    codec::CodecItem,
};
use url::Url;

/// How long it may take for all before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(40);

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// By TEARDOWN.
    Teardown,
    /// By closing the connection.
    None,
}

/// Plays `pictures` pictures of what `camera` has at `path`, on `host`.
pub(crate) fn play(
    host: &Host,
    camera: &Camera<'_>,
    path: &str,
    transport: Transport,
    pictures: usize,
    farewell: Farewell,
) -> Result<Played> {
    let url = Url::parse(&format!("rtsp://{}/{path}", camera.address()))?;
    let creds = camera
        .is_guarded()
        .then(|| Credentials { username: USER.to_owned(), password: PASSWORD.to_owned() });
    host.run(|| {
        // All on the one thread that is in the host's namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let playing = converse(url, creds, transport, pictures, farewell);
            tokio::time::timeout(PATIENCE, playing).await.context("retina is stuck")?
        })
    })?
    .with_context(|| format!("retina by {transport}"))
}

async fn converse(
    url: Url,
    creds: Option<Credentials>,
    transport: Transport,
    pictures: usize,
    farewell: Farewell,
) -> Result<Played> {
    let group = Arc::new(SessionGroup::default());
    let options = SessionOptions::default()
        .creds(creds)
        .user_agent("retina".to_owned())
        .session_group(Arc::clone(&group))
        .teardown(match farewell {
            Farewell::Teardown => TeardownPolicy::Always,
            Farewell::None => TeardownPolicy::Never,
        });
    let mut session = Session::describe(url, options).await.context("DESCRIBE")?;
    ensure!(session.streams().len() == 1, "{} streams", session.streams().len());
    let transport = match transport {
        Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
        Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
    };
    session.setup(0, SetupOptions::default().transport(transport)).await.context("SETUP")?;
    let playing = session.play(PlayOptions::default()).await.context("PLAY")?;
    let mut items = playing.demuxed().context("cannot take the stream apart")?;

    let mut played = Played { pictures: 0, lost: 0 };
    while played.pictures < pictures {
        let item = items.next().await.context("the stream ended")?;
        if let CodecItem::VideoFrame(frame) = item.with_context(|| format!("after {played:?}"))? {
            played.pictures += 1;
            played.lost += u64::from(frame.loss());
        }
    }
    drop(items);
    if farewell == Farewell::Teardown {
        group.await_teardown().await.context("TEARDOWN")?;
    }
    Ok(played)
}
