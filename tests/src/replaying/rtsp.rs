//! What RTSP tests say to each other, and the policy they say it under.

/// The port that the policy binds the filter to.
pub const RTSP_PORT: u16 = 554;
/// The number of the policy's first protocol, `rtsp`.
pub const RTSP_PROTOCOL: u16 = 1;

/// A request.
pub const OPTIONS: &[u8] = b"OPTIONS rtsp://10.2.0.2/track1 RTSP/1.0\r\nCSeq: 1\r\n\r\n";
/// Another.
pub const DESCRIBE: &[u8] = b"DESCRIBE rtsp://10.2.0.2/track1 RTSP/1.0\r\nCSeq: 2\r\n\r\n";
/// A reply by the book.
pub const REPLY: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE\r\n\r\n";
/// A reply in the recorder's dialect.
pub const REPLY_WITHOUT_CSEQ: &[u8] =
    b"RTSP/1.0 200 OK\r\nServer: recorder\r\nContent-Length: 5\r\n\r\nv=0\r\n";

/// A policy that allows everything and binds the RTSP filter to port 554.
pub fn rtsp_policy(mode: &str, profile: &str) -> String {
    format!(
        "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"allow\"\n\n\
         [protocol.rtsp]\ntransport = \"tcp\"\nports = [{RTSP_PORT}]\nfilter = \"rtsp\"\n\n\
         [filter.rtsp]\nmode = \"{mode}\"\nprofile = \"{profile}\"\n"
    )
}
