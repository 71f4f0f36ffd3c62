"""The camera of the lab: GStreamer's RTSP server with a test picture.

Usage: python3 rtsp_server.py ADDRESS PORT

Streams rtsp://ADDRESS:PORT/test, 320x240 at 15 pictures a second, over UDP or interleaved TCP as the
client asks, and prints `listening on …` once it accepts connections. Each client gets a stream of its
own. Motion JPEG, because every picture stands alone: a lost packet costs one picture and not all up to
the next key frame, so the client's count of pictures says exactly what was lost.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (versions are chosen first)

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball"
    " ! video/x-raw,format=I420,width=320,height=240,framerate=15/1"
    " ! jpegenc quality=50"
    " ! rtpjpegpay name=pay0 pt=26 )"
)


def main():
    address, port = sys.argv[1], sys.argv[2]
    Gst.init(None)
    for element in ("videotestsrc", "jpegenc", "rtpjpegpay", "rtpbin", "udpsink"):
        if Gst.ElementFactory.find(element) is None:
            sys.exit(f"GStreamer has no element {element!r}: is gstreamer1.0-plugins-good installed?")

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)

    server = GstRtspServer.RTSPServer()
    server.set_address(address)
    server.set_service(port)
    server.get_mount_points().add_factory("/test", factory)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on {address} port {port}")

    print(f"listening on {address} port {port}", flush=True)
    GLib.MainLoop().run()


main()
