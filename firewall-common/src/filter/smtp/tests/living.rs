//! Dialogues as real servers and clients hold them: nothing may be found in them in any profile.

use super::*;

fn dialogues() -> Vec<(&'static str, Vec<Turn>)> {
    let lockstep = |lines: &[(&str, &str)]| -> Vec<Turn> {
        lines.iter().flat_map(|(command, reply)| [client(command), server(reply)]).collect()
    };
    vec![
        (
            "Postfix to Postfix, pipelined, two mails and RSET",
            vec![
                server("220 mx.example ESMTP Postfix (Debian/GNU)\r\n"),
                client("EHLO out.example\r\n"),
                server(
                    "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n\
                     250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n\
                     250-SMTPUTF8\r\n250 CHUNKING\r\n",
                ),
                client(
                    "MAIL FROM:<a@out.example> SIZE=346 BODY=8BITMIME\r\n\
                     RCPT TO:<b@mx.example> ORCPT=rfc822;b@mx.example\r\nDATA\r\n",
                ),
                server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"),
                client(
                    b"Subject: x\r\n\r\ncaf\xc3\xa9 \xe9\r\n..\r\n..stuffed\r\n.x\r\n\r\n.\r\n"
                        .as_slice(),
                ),
                server("250 2.0.0 Ok: queued as 4ABC\r\n"),
                client("RSET\r\n"),
                server("250 2.0.0 Ok\r\n"),
                client("MAIL FROM:<> SIZE=0\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"),
                server("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data\r\n"),
                client(".\r\nQUIT\r\n"),
                server("250 2.0.0 Ok: queued as 4ABD\r\n221 2.0.0 Bye\r\n"),
            ],
        ),
        (
            "Exim with a greeting of several lines, chunks, and a RSET between",
            vec![
                server(
                    "220-mx.example ESMTP Exim 4.96 Mon, 1 Jan 2024 00:00:00 +0000\r\n\
                     220-We do not authorize the use of this system\r\n220 to transport bulk e-mail.\r\n",
                ),
                client("EHLO out.example\r\n"),
                server(
                    "250-mx.example Hello out.example [192.0.2.1]\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n\
                     250-PIPELINING\r\n250-CHUNKING\r\n250-PRDR\r\n250 HELP\r\n",
                ),
                client(
                    "MAIL FROM:<a@out.example> SIZE=1500\r\nRCPT TO:<b@mx.example>\r\nBDAT 24 LAST\r\nA: b\r\n\r\n.\r\n\0.\r\nRSET\nMAIL",
                ),
                server(
                    "250 OK\r\n250 Accepted\r\n250- 24 byte chunk, total 24\r\n250 OK id=1rK\r\n",
                ),
                client(
                    "MAIL FROM:<a@out.example>\r\nRCPT TO:<b@mx.example>\r\nBDAT 4\r\nDATABDAT 6\r\n\r\n.\r\n\n",
                ),
                server("250 OK\r\n250 Accepted\r\n250 4 byte chunk\r\n250 6 byte chunk\r\n"),
                client("bdat 0 last\r\n"),
                server("250 OK id=1rL\r\n"),
                client("MAIL FROM:<a@out.example>\r\nBDAT 3\r\nabcRSET\r\n"),
                server("250 OK\r\n503 no recipients\r\n250 Reset OK\r\n"),
                client("QUIT\r\n"),
                server("221 mx.example closing connection\r\n"),
            ],
        ),
        (
            "Exchange: LOGIN, a greeting with dashes, commands in all cases",
            vec![
                server(
                    "220 EX1.corp.example Microsoft ESMTP MAIL Service ready at Mon, 1 Jan 2024 00:00:00 +0000\r\n",
                ),
                client("ehlo pc\r\n"),
                server(
                    "250-EX1.corp.example Hello [192.0.2.1]\r\n250-SIZE 37748736\r\n250-PIPELINING\r\n250-DSN\r\n\
                     250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250-X-ANONYMOUSTLS\r\n250-AUTH NTLM LOGIN\r\n\
                     250-X-EXPS GSSAPI NTLM\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 XRDST\r\n",
                ),
                client("AUTH LOGIN\r\n"),
                server("334 VXNlcm5hbWU6\r\n"),
                client("dXNlcg==\r\n"),
                server("334 UGFzc3dvcmQ6\r\n"),
                client("c2VjcmV0\r\n"),
                server("235 2.7.0 Authentication successful\r\n"),
                client("mail from:<a@corp.example>\r\n"),
                server("250 2.1.0 Sender OK\r\n"),
                client("Rcpt To:<b@corp.example>\r\n"),
                server("250 2.1.5 Recipient OK\r\n"),
                client("data\r\n"),
                server("354 Start mail input; end with <CRLF>.<CRLF>\r\n"),
                client("Subject: x\r\n\r\ntext\r\n.\r\n"),
                server(
                    "250 2.6.0 <id@EX1> [InternalId=1, Hostname=EX1] Queued mail for delivery\r\n",
                ),
                client("quit\r\n"),
                server("221 2.0.0 Service closing transmission channel\r\n"),
            ],
        ),
        (
            "sendmail in lockstep, a recipient refused, VRFY, HELP, NOOP",
            [server(
                "220 mail.example ESMTP Sendmail 8.17.1/8.17.1; Mon, 1 Jan 2024 00:00:00 GMT\r\n",
            )]
            .into_iter()
            .chain(lockstep(&[
                (
                    "HELO out.example\r\n",
                    "250 mail.example Hello out.example, pleased to meet you\r\n",
                ),
                ("VRFY root\r\n", "252 2.5.2 Cannot VRFY user; try RCPT to attempt delivery\r\n"),
                ("EXPN staff\r\n", "502 5.7.0 Sorry, we do not allow this operation\r\n"),
                (
                    "HELP\r\n",
                    "214-2.0.0 This is sendmail\r\n214-2.0.0 Topics:\r\n214 2.0.0 End\r\n",
                ),
                ("NOOP\r\n", "250 2.0.0 OK\r\n"),
                ("NOOP keep alive\r\n", "250 2.0.0 OK\r\n"),
                ("MAIL FROM:<\"a \\\" b>\"@out.example>\r\n", "250 2.1.0 Sender ok\r\n"),
                ("RCPT TO:<nobody@mail.example>\r\n", "550 5.1.1 User unknown\r\n"),
                ("RCPT TO:<@one,@two:b@mail.example> NOTIFY=NEVER\r\n", "250\r\n"),
                ("DATA\r\n", "354 Enter mail, end with \".\" on a line by itself\r\n"),
                ("x\r\n.\r\n", "250 \r\n"),
                ("ETRN out.example\r\n", "458 unable to queue\r\n"),
                ("QUIT\r\n", "221 2.0.0 mail.example closing connection\r\n"),
            ]))
            .collect(),
        ),
        (
            "DATA refused, and the session goes on",
            after_greeting([
                client("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"),
                server("250 Ok\r\n550 No such user\r\n554 No valid recipients\r\n"),
                client(
                    "RSET\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<c@mx.example>\r\nDATA\r\n",
                ),
                server("250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go\r\n"),
                client("DATA\r\nQUIT\r\n.\r\n"),
                server("250 Ok\r\n"),
                client("QUIT\r\n"),
                server("221 Bye\r\n"),
            ]),
        ),
        (
            "STARTTLS accepted: what follows is not read",
            after_greeting([
                client("STARTTLS\r\n"),
                server("220 2.0.0 Ready to start TLS\r\n"),
                client(b"\x16\x03\x01\x02\x00\x01\n\0.\r\n.\n".as_slice()),
                server(b"\x16\x03\x03\x00\x7a\x02\r\n\n".as_slice()),
                client(b"\x17\x03\x03GET / HTTP/1.1\r\n".as_slice()),
            ]),
        ),
        (
            "STARTTLS refused",
            after_greeting([
                client("STARTTLS\r\n"),
                server("454 4.7.0 TLS not available due to local problem\r\n"),
                client("MAIL FROM:<a@client.example>\r\n"),
                server("530 5.7.0 Must issue a STARTTLS command first\r\n"),
                client("STARTTLS\r\n"),
                server("220 Now\r\n"),
                client(b"\x16\x03\x01".as_slice()),
            ]),
        ),
        (
            "AUTH with and without initial response, cancelled, refused",
            after_greeting(lockstep(&[
                ("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "535 5.7.8 Error: authentication failed\r\n"),
                ("AUTH PLAIN\r\n", "334 \r\n"),
                ("*\r\n", "501 5.7.0 Authentication aborted\r\n"),
                (
                    "AUTH CRAM-MD5\r\n",
                    "334 PDQxOTI5NDIzNDEuMTI4Mjg0NzJAc291cmNlZm91ci5leGFtcGxlPg==\r\n",
                ),
                ("QUIT\r\n", "501 5.5.2 Cannot decode\r\n"),
                ("AUTH PLAIN\r\n", "334 \r\n"),
                ("AHVzZXIAc2VjcmV0\r\n", "235 2.7.0 Authentication successful\r\n"),
                ("AUTH XOAUTH2 =\r\n", "503 5.5.1 Error: already authenticated\r\n"),
                ("RSET\r\n", "250 Ok\r\n"),
            ])),
        ),
        (
            "SMTPUTF8",
            after_greeting(lockstep(&[
                ("MAIL FROM:<\u{fc}@client.example> SMTPUTF8 BODY=8BITMIME\r\n", "250 Ok\r\n"),
                ("RCPT TO:<\u{6d4b}\u{8bd5}@mx.example>\r\n", "550 \u{6d4b} unknown\r\n"),
                ("VRFY \u{fc} SMTPUTF8\r\n", "252 perhaps\r\n"),
            ])),
        ),
        (
            "LMTP: a reply to the message for each recipient",
            vec![
                server("220 lmtp.example LMTP\r\n"),
                client("LHLO mx.example\r\n"),
                server("250-lmtp.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
                client("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nDATA\r\n"),
                server("250 OK\r\n250 OK\r\n250 OK\r\n354 Go\r\n"),
                client("x\r\n.\r\n"),
                server("250 c saved\r\n452 e is over quota\r\n"),
                client("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
                server("250 OK\r\n550 No\r\n503 No\r\n"),
                client("QUIT\r\n"),
                server("221 Bye\r\n"),
            ],
        ),
        (
            "the server closes when it likes",
            after_greeting([
                client("MAIL FROM:<a@client.example>\r\n"),
                server("250 Ok\r\n421 4.4.2 mx.example Error: timeout exceeded\r\n"),
            ]),
        ),
        (
            "the server closes in the middle of a message",
            after_greeting([
                client("MAIL FROM:<a@client.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n"),
                server("250 Ok\r\n250 Ok\r\n354 Go\r\n"),
                client("Subject: "),
                server("421 timeout\r\n"),
            ]),
        ),
        (
            "no service, and a client that only says goodbye",
            vec![
                server("554 5.7.1 No SMTP service here\r\n"),
                client("QUIT\r\n"),
                server("221 Bye\r\n"),
            ],
        ),
        ("many recipients in one group", {
            let many = "RCPT TO:<b@mx.example>\r\n".repeat(40);
            after_greeting([
                client(format!("MAIL FROM:<a@client.example>\r\n{many}DATA\r\n")),
                server(format!("{}354 Go\r\n", "250 Ok\r\n".repeat(41))),
                client("\r\n.\r\n"),
                server("250 Ok\r\n"),
            ])
        }),
        ("a text of long lines that are still within the limit", {
            mail([b".".as_slice(), &[b'.'; 998], b"\r\n", &[b'x'; 998], b"\r\n.\r\n"].concat())
        }),
        ("commands as long as they may be", {
            let path = format!("<{}>", "p".repeat(254));
            after_greeting([
                client(format!("MAIL FROM:{path} SIZE=1 ENVID={}\r\n", "e".repeat(400))),
                server(format!("250 {}\r\n", "x".repeat(506))),
                client(format!("NOOP {}\r\n", "n".repeat(505))),
                server("250 Ok\r\n"),
                client(format!("AUTH GSSAPI {}\r\n", "g".repeat(12_274))),
                server("535 no\r\n"),
            ])
        }),
    ]
}

#[test]
fn nothing_is_found_in_what_real_ends_say() {
    for (shows, turns) in dialogues() {
        assert_eq!(heard(&turns), Heard::default(), "{shows}");
        assert_eq!(heard_strictly(&turns), Heard::default(), "{shows}");
    }
}

#[test]
fn either_end_may_close_at_any_byte() {
    for (shows, turns) in dialogues() {
        for upto in 1..=turns.len() {
            let mut turns = turns[..upto].to_vec();
            let last = turns.last_mut().expect("there is one");
            last.1.truncate(last.1.len() / 2);
            let heard = Talk::new(turns).in_profile(Profile::Strict).whole::<Parser>();
            assert_eq!(heard, Heard::default(), "{shows}, {upto}");
        }
    }
}

/// All commands that real clients use may be allowed and no other, without harm to them.
#[test]
fn a_policy_that_allows_what_is_used_changes_nothing() {
    for (shows, turns) in dialogues() {
        let mut talk = Talk::new(turns);
        talk.scenes[0].commands &= !(1 << 16 | 1 << 17 | 1 << 18);
        assert_eq!(talk.whole::<Parser>(), Heard::default(), "{shows}");
    }
}

#[test]
fn a_parser_fits_where_it_is_kept() {
    assert_eq!(size_of::<Parser>(), 272);
}
