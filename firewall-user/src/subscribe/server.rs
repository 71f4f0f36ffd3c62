//! The controller's end of the socket.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use firewall_common::reason::Reason;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::broadcast::error::RecvError,
};

use super::Request;
use crate::{event::Event, hub::Hub, instance::Instance};

/// Longest request line, in bytes.
const REQUEST_MAX: u64 = 16_384;
/// How long a subscriber may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the socket, in place of one that a controller left which is no more.
pub fn listen(instance: &Instance) -> Result<UnixListener> {
    let path = instance.socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
}

/// Serves one subscriber until it or the controller has enough.
pub async fn serve(stream: UnixStream, hub: Arc<std::sync::Mutex<Hub>>) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader).take(REQUEST_MAX);
    tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line))
        .await
        .context("no request came")??;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let answer = serde_json::json!({ "error": error.to_string() });
            writer.write_all(format!("{answer}\n").as_bytes()).await?;
            bail!("a request that is none: {error}");
        }
    };
    if request.publish {
        let answer = match take_events(&mut reader, &hub).await {
            Ok(published) => serde_json::json!({ "published": published }),
            Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
        };
        return send(&mut writer, &answer.to_string()).await;
    }
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let selection = match request.criteria.selection(now) {
        Ok(selection) => selection,
        Err(error) => {
            let answer = serde_json::json!({ "error": error.to_string() });
            return send(&mut writer, &answer.to_string()).await;
        }
    };
    let (remembered, mut coming) = match hub.lock() {
        Ok(hub) => hub.subscribe(request.last, &selection),
        Err(_) => bail!("the controller is ending"),
    };
    for told in remembered {
        send(&mut writer, &told.line_for(request.packets)).await?;
    }
    if !request.follow {
        return Ok(());
    }
    loop {
        match coming.recv().await {
            Ok(told) if selection.has(&told.event) => {
                send(&mut writer, &told.line_for(request.packets)).await?
            }
            Ok(_) => {}
            Err(RecvError::Lagged(count)) => {
                let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
                let message =
                    format!("this subscriber was too slow: {count} events are missing here");
                let event = Event::control(0, None, now, Reason::None, message);
                send(&mut writer, &serde_json::to_string(&event)?).await?;
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Publishes the events that come, one a line. Returns how many.
async fn take_events<R>(
    reader: &mut tokio::io::Take<BufReader<R>>,
    hub: &std::sync::Mutex<Hub>,
) -> Result<u64>
where
    R: tokio::io::AsyncRead + Unpin,
{
    let mut published = 0;
    let mut line = String::new();
    loop {
        line.clear();
        reader.set_limit(REQUEST_MAX);
        if reader.read_line(&mut line).await? == 0 {
            return Ok(published);
        }
        let event: Event = serde_json::from_str(&line)
            .with_context(|| format!("event {} is none", published + 1))?;
        match hub.lock() {
            Ok(mut hub) => hub.publish(event)?,
            Err(_) => bail!("the controller is ending"),
        }
        published += 1;
    }
}

async fn send(writer: &mut tokio::net::unix::OwnedWriteHalf, line: &str) -> Result<()> {
    writer.write_all(line.as_bytes()).await?;
    Ok(writer.write_all(b"\n").await?)
}
