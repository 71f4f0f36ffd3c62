//! Mail through the firewall to a real Postfix, with the SMTP filter in its standard profile: it arrives as it was
//! sent, and what abuses the protocol is killed.

use lab::{
    Fwx, Lab, Mode,
    peers::{
        mailer::{self, Mailer},
        postfix::Postfix,
        viewer::End,
    },
    policy,
};

/// What curl says, and the test's own client.
const COMMANDS: [&str; 9] =
    ["HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "STARTTLS"];
const LARGE_BYTES: usize = 5_000_000;

#[test]
fn a_large_mail_arrives_byte_for_byte_in_mode_auto() {
    a_large_mail_arrives(Mode::Auto);
}

#[test]
fn a_large_mail_arrives_byte_for_byte_in_mode_tc() {
    a_large_mail_arrives(Mode::Tc);
}

fn a_large_mail_arrives(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::mail(&["lan0", "wan0"], &COMMANDS), mode).unwrap();
    let mut postfix = Postfix::start(&lab.camera).unwrap();

    let text = text();
    let mail = format!("From: <sender@client.example>\r\nSubject: large\r\n\r\n{text}");
    for tls in [false, true] {
        mailer::send(&lab.client, postfix.address(), mail.as_bytes(), tls).unwrap();
        let received = postfix.receive().unwrap();
        assert!(
            received == text.replace("\r\n", "\n").as_bytes(),
            "tls: {tls}, {}",
            received.len()
        );
    }
    assert!(postfix.log().contains("starttls=1"), "{}", postfix.log());
    let binding = fwx.binding("smtp").unwrap();
    assert_eq!((binding.kills, binding.findings), (0, 0));
}

/// Lines of all lengths that are allowed, some of them of dots, and some that look like commands.
fn text() -> String {
    let mut text = String::with_capacity(LARGE_BYTES + 1000);
    let mut number = 0_usize;
    while text.len() < LARGE_BYTES {
        number += 1;
        let line = match number % 7 {
            0 => ".".repeat(number % 5),
            1 => "MAIL FROM:<a@b>".to_owned(),
            _ => format!("{number:0width$}", width = number * 31 % 990),
        };
        text.push_str(&line);
        text.push_str("\r\n");
    }
    text
}

#[test]
fn other_protocols_are_killed() {
    is_killed("not-smtp", "CONNECT", |mailer| {
        mailer.say("GET / HTTP/1.1\r\nHost: mail\r\n\r\n").unwrap()
    });
}

#[test]
fn a_smuggled_end_of_data_is_killed() {
    is_killed("smuggled-end-of-data", "DATA", |mailer| {
        mailer.ask("EHLO client.example\r\n", "250").unwrap();
        mailer.ask("MAIL FROM:<sender@client.example>\r\n", "250").unwrap();
        mailer.ask("RCPT TO:<box@lab.example>\r\n", "250").unwrap();
        mailer.ask("DATA\r\n", "354").unwrap();
        mailer.say("Subject: x\r\n\r\nx\n.\r\nMAIL FROM:<root@lab.example>\r\n").unwrap();
    });
}

#[test]
fn a_command_injected_behind_starttls_is_killed() {
    is_killed("pipelined-after-starttls", "EHLO", |mailer| {
        mailer.ask("EHLO client.example\r\n", "250").unwrap();
        mailer.say("STARTTLS\r\nRSET\r\n").unwrap();
    });
}

#[test]
fn a_command_that_is_not_allowed_is_killed() {
    is_killed("command-not-allowed", "EHLO", |mailer| {
        mailer.ask("EHLO client.example\r\n", "250").unwrap();
        mailer.say("VRFY root\r\n").unwrap();
    });
}

/// What `abuse` does is killed for `finding`, and both ends hear of it; the server's last command was `last`.
fn is_killed(finding: &str, last: &str, abuse: impl FnOnce(&mut Mailer)) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::mail(&["lan0", "wan0"], &COMMANDS), Mode::Auto).unwrap();
    let postfix = Postfix::start(&lab.camera).unwrap();

    let mut mailer = Mailer::connect(&lab.client, postfix.address()).unwrap();
    let port = mailer.local_address().port();
    abuse(&mut mailer);
    // It hears of it in answer to what it sends next: a repetition of what did not arrive.
    assert_eq!(mailer.read_to_end(), End::Reset);
    postfix.wait_for_loss(last).unwrap();

    let kill = fwx
        .wait_for_event("the kill", |event| {
            event.kind == "connection_killed" && event.is_between_ports(port, 25)
        })
        .unwrap();
    assert_eq!(kill.protocol.as_deref(), Some("smtp"), "{}", kill.line);
    let told = kill.filter.as_ref().expect("the kill says which filter");
    assert_eq!(told.name, "smtp", "{}", kill.line);
    assert_eq!(told.finding.as_deref(), Some(finding), "{}", kill.line);
    assert_eq!(fwx.binding("smtp").unwrap().kills, 1);
}
