//! The demo: a camera plays through the firewall, a filter kills a recorder that speaks a dialect, the
//! firewall says why, and one command cures it. Each step checks itself; the exit code is 0 only when
//! all of them hold.

use std::{collections::BTreeSet, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use firewall_common::reason::Reason;
use lab::{
    Event, Fwx, Lab, Mode,
    peers::{
        camera::Camera,
        player::{self, Transport},
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    policy, traces, wait,
};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const RTSP: u16 = 554;
const NOT_SYN: &str = Reason::TcpNotSyn.name();
const VIDEO_SECONDS: u32 = 3;
/// Frames of the recorder that count as a conversation that lives.
const FRAMES: u32 = 100;

fn main() -> ExitCode {
    let start = Instant::now();
    println!("fwx demo: a client, a gateway and a camera, in network namespaces of their own.");
    match demo() {
        Ok(()) => {
            println!("\nAll steps hold ({} s).", start.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\n✘ {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Steps (a) to (e) in the lab, then (f): it is all gone.
fn demo() -> Result<()> {
    let lab = Lab::single().context("cannot make the lab")?;
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw"))?;
    let (name, instance) = (lab.name().to_owned(), fwx.instance().to_owned());

    if let Err(error) = steps(&lab, &mut fwx) {
        // Now, while there is somebody to ask.
        eprintln!("\n{}", fwx.diagnostics());
        return Err(error);
    }

    headline('f', "everything is gone afterwards");
    let programs = take_down(&lab, &mut fwx).context("step (f)")?;
    drop(fwx);
    drop(lab);
    nothing_is_left(&name, &instance, &programs).context("step (f)")
}

fn steps(lab: &Lab, fwx: &mut Fwx<'_>) -> Result<()> {
    start(fwx).context("the firewall does not start")?;
    headline('a', "video plays through the gateway, RTSP filter in the standard profile");
    video_plays(lab, fwx).context("step (a)")?;
    headline('b', "a lone ACK is dropped");
    lone_ack_is_dropped(lab, fwx).context("step (b)")?;

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(RTSP))?;
    headline('c', "the strict profile kills the recorder's dialect, and says why");
    strict_profile_kills(lab, fwx, &recorder).context("step (c)")?;
    headline('d', "in monitor mode the same conversation lives");
    monitor_mode_reports(lab, fwx, &recorder).context("step (d)")?;
    headline('e', "the filter is unbound while a connection is open");
    unbinding_frees(lab, fwx, &recorder).context("step (e)")
}

fn start(fwx: &mut Fwx<'_>) -> Result<()> {
    println!("\nfwx run --policy … (instance {})", fwx.instance());
    fwx.run(&policy::cameras(&INTERFACES, "standard"), Mode::Auto)?;
    for interface in fwx.status()?.interfaces {
        let lab::InterfaceStatus { name, ingress, egress, why, .. } = interface;
        holds(&format!("{name}: ingress {ingress}, egress {egress} ({why})"));
    }
    Ok(())
}

fn video_plays(lab: &Lab, fwx: &Fwx<'_>) -> Result<()> {
    let binding = fwx.binding("rtsp")?;
    ensure!(
        binding.filter.as_deref() == Some("rtsp")
            && binding.mode.as_deref() == Some("enforce")
            && binding.profile.as_deref() == Some("standard"),
        "the filter should be bound, enforced, in the standard profile; it is {binding:?}"
    );

    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(RTSP))?;
    for transport in [Transport::Tcp, Transport::Udp] {
        let before = fwx.status()?.packets;
        let pictures = player::play(&lab.client, &camera.url(), transport, VIDEO_SECONDS)
            .with_context(|| format!("video over {transport}"))?;
        let packets = fwx.status()?.packets.ingress - before.ingress;
        ensure!(
            pictures.missing() == 0,
            "all pictures over {transport} should arrive: {} did, {} between them did not",
            pictures.count(),
            pictures.missing()
        );
        ensure!(packets > 0, "the video over {transport} should pass fwx, which saw no packet");
        let count = pictures.count();
        holds(&format!(
            "ffmpeg decoded {count} pictures over {transport}, none missing; fwx saw {packets} packets"
        ));
    }
    let kills = fwx.binding("rtsp")?.kills;
    ensure!(kills == 0, "the filter should kill nothing, it killed {kills} connections");
    Ok(())
}

fn lone_ack_is_dropped(lab: &Lab, fwx: &Fwx<'_>) -> Result<()> {
    let drop = send_lone_ack(lab, fwx, 40_001)?;
    shows("the packet belongs to no connection and is no SYN", &drop);
    Ok(())
}

fn strict_profile_kills(lab: &Lab, fwx: &Fwx<'_>, recorder: &Recorder<'_>) -> Result<()> {
    switch(fwx, &["mode", "rtsp", "enforce", "--profile", "strict"])?;

    let mut viewer = Viewer::connect(&lab.client, recorder.address())?;
    let port = viewer.local_address().port();
    let conversation = viewer.converse(FRAMES);
    ensure!(
        conversation.end == Some(End::Reset),
        "the connection should end with a RST: {conversation}"
    );
    holds(&format!("the viewer: {conversation}"));

    let kill = fwx.wait_for_event("the kill", |event| {
        event.kind == "connection_killed"
            && event.reason.as_deref() == Some("FWX_E_CONNECTION_KILLED")
            && event.is_between_ports(port, RTSP)
    })?;
    let finding = kill.filter.as_ref().context("the kill should say which filter did it")?;
    let (Some(what), Some(offset), Some(excerpt)) =
        (&finding.finding, finding.offset, &finding.excerpt)
    else {
        bail!("the kill should have finding, offset and excerpt: {}", kill.line);
    };
    ensure!(what == "missing-cseq", "the finding should be missing-cseq: {}", kill.line);
    shows(&format!("killed for {what} at byte {offset}, where {excerpt:?} stood"), &kill);

    // The client's next packet belongs to no connection any more: the second bare code of the story.
    stray::lone_ack(&lab.client, viewer.local_address(), recorder.address())?;
    let drop = fwx.wait_for_event("a drop caused by the kill", |event| {
        event.is_drop(NOT_SYN)
            && event.is_between_ports(port, RTSP)
            && event.caused_by == Some(kill.event_id)
    })?;
    shows(&format!("what follows names event {} as its cause", kill.event_id), &drop);
    Ok(())
}

fn monitor_mode_reports(lab: &Lab, fwx: &Fwx<'_>, recorder: &Recorder<'_>) -> Result<()> {
    let kills = fwx.binding("rtsp")?.kills;
    switch(fwx, &["mode", "rtsp", "monitor"])?;

    let mut viewer = Viewer::connect(&lab.client, recorder.address())?;
    let port = viewer.local_address().port();
    let conversation = viewer.converse(FRAMES);
    ensure!(conversation.end.is_none(), "the connection should live: {conversation}");
    holds(&format!("the viewer: {conversation}"));

    let finding = fwx.wait_for_event("the finding", |event| {
        event.kind == "filter_finding" && event.is_between_ports(port, RTSP)
    })?;
    shows("the finding is reported while the packets pass", &finding);
    let after = fwx.binding("rtsp")?.kills;
    ensure!(after == kills, "nothing should be killed: {kills} kills before, {after} now");
    Ok(())
}

fn unbinding_frees(lab: &Lab, fwx: &Fwx<'_>, recorder: &Recorder<'_>) -> Result<()> {
    switch(fwx, &["mode", "rtsp", "enforce", "--profile", "strict"])?;
    let mut viewer = Viewer::connect(&lab.client, recorder.address())?;
    let port = viewer.local_address().port();
    viewer.request("OPTIONS", "").context("before the filter is unbound")?;

    switch(fwx, &["unbind", "rtsp"])?;
    let conversation = viewer.converse(FRAMES);
    ensure!(conversation.end.is_none(), "the connection should live on: {conversation}");
    holds(&format!("the same connection: {conversation}"));

    // Events come in the order of time: once this one is there, no earlier one is still to come.
    send_lone_ack(lab, fwx, 40_002)?;
    let findings: Vec<_> = fwx
        .events()?
        .into_iter()
        .filter(|event| ["filter_finding", "connection_killed"].contains(&&*event.kind))
        .filter(|event| event.is_between_ports(port, RTSP))
        .collect();
    ensure!(findings.is_empty(), "there should be no finding: {}", findings[0].line);
    holds(&format!("no finding and no kill is reported for port {port}"));
    Ok(())
}

/// Ends the firewall. Returns the ids of the programs that were attached.
fn take_down(lab: &Lab, fwx: &mut Fwx<'_>) -> Result<BTreeSet<u32>> {
    let attached = || -> Result<BTreeSet<u32>> {
        let mut ids = BTreeSet::new();
        for interface in INTERFACES {
            ids.extend(traces::attached_programs(lab.gateway(), interface)?);
        }
        Ok(ids)
    };
    let programs = attached()?;
    ensure!(!programs.is_empty(), "programs should be attached until now");
    fwx.down()?;
    let left = attached()?;
    ensure!(left.is_empty(), "no program should be attached, {left:?} are");
    holds(&format!("fwx down: the programs {programs:?} are detached"));
    Ok(programs)
}

fn nothing_is_left(lab: &str, instance: &str, programs: &BTreeSet<u32>) -> Result<()> {
    let namespaces = traces::namespaces(lab);
    ensure!(namespaces.is_empty(), "no namespace should be left: {namespaces:?}");
    let pins = traces::pins(instance);
    ensure!(pins.is_empty(), "no pin should be left: {pins:?}");
    // The kernel frees a program some time after its last link and its last pin are gone.
    wait::until("the kernel has freed the programs", || {
        let left = traces::still_loaded(programs);
        ensure!(left.is_empty(), "something holds {left:?}");
        Ok(())
    })?;
    holds("no namespace, no pin, no link is left, and the kernel has freed the programs");
    Ok(())
}

/// Sends a lone ACK from `port` and returns the event of its drop.
fn send_lone_ack(lab: &Lab, fwx: &Fwx<'_>, port: u16) -> Result<Event> {
    stray::lone_ack(&lab.client, lab.client.socket_v4(port), lab.camera.socket_v4(RTSP))?;
    fwx.wait_for_event(&format!("the drop of a lone ACK from port {port}"), |event| {
        event.is_drop(NOT_SYN) && event.is_between_ports(port, RTSP)
    })
}

fn switch(fwx: &Fwx<'_>, arguments: &[&str]) -> Result<()> {
    println!("  fwx filter {}", arguments.join(" "));
    fwx.filter(arguments)
}

fn headline(step: char, what: &str) {
    println!("\n({step}) {what}");
}

fn holds(evidence: &str) {
    println!("  ✔ {evidence}");
}

fn shows(evidence: &str, event: &Event) {
    println!("  ✔ {evidence}:\n    {}", event.line);
}
