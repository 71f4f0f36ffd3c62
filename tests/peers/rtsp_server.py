"""The camera of the lab: GStreamer's RTSP server with a test picture.

Usage: python3 rtsp_server.py ADDRESS PORT [USER PASSWORD]

Prints `listening on …` once it accepts connections. With USER and PASSWORD it asks for digest
authentication. What it has, over UDP or interleaved TCP as the client asks, each client with a stream of
its own:

- rtsp://ADDRESS:PORT/test: 320x240 at 15 pictures a second, in Motion JPEG, because every picture stands
  alone: a lost packet costs one picture and not all up to the next key frame, so the client's count of
  pictures says exactly what was lost;
- rtsp://ADDRESS:PORT/small: the same in few bytes, for captures;
- rtsp://ADDRESS:PORT/push/tcp and /push/udp: takes what a client announces and records, H.264, and prints
  `pushed tcp` or `pushed udp` for every picture.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 (versions are chosen first)

ELEMENTS = ("videotestsrc", "jpegenc", "rtpjpegpay", "rtph264depay", "h264parse", "rtpbin", "udpsink")

# Whoever has shown who it is.
ROLE = "user"


def play_pipeline(width, height, quality):
    return (
        "( videotestsrc is-live=true pattern=ball"
        f" ! video/x-raw,format=I420,width={width},height={height},framerate=15/1"
        f" ! jpegenc quality={quality}"
        " ! rtpjpegpay name=pay0 pt=26 )"
    )


RECORD_PIPELINE = (
    "( rtph264depay name=depay0"
    " ! h264parse ! video/x-h264,alignment=au"
    " ! fakesink name=sink sync=false signal-handoffs=true )"
)


def player(width, height, quality):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(play_pipeline(width, height, quality))
    return factory


def recorder(name):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    factory.set_launch(RECORD_PIPELINE)

    def configure(_factory, media):
        sink = media.get_element().get_by_name("sink")
        sink.connect("handoff", lambda *_: print(f"pushed {name}", flush=True))

    factory.connect("media-configure", configure)
    return factory


def ask_for_digest(server, factories, user, password):
    token = GstRtspServer.RTSPToken.new()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in (
        GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS,
        GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
    ):
        permissions.add_permission_for_role(ROLE, permission, True)
    for factory in factories:
        factory.set_permissions(permissions)


def main():
    address, port, *credentials = sys.argv[1:]
    Gst.init(None)
    for element in ELEMENTS:
        if Gst.ElementFactory.find(element) is None:
            sys.exit(
                f"GStreamer has no element {element!r}:"
                " are gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad installed?"
            )

    factories = {
        "/test": player(320, 240, 50),
        "/small": player(160, 120, 10),
        "/push/tcp": recorder("tcp"),
        "/push/udp": recorder("udp"),
    }
    server = GstRtspServer.RTSPServer()
    server.set_address(address)
    server.set_service(port)
    for path, factory in factories.items():
        server.get_mount_points().add_factory(path, factory)
    if credentials:
        ask_for_digest(server, factories.values(), *credentials)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on {address} port {port}")

    print(f"listening on {address} port {port}", flush=True)
    GLib.MainLoop().run()


main()
