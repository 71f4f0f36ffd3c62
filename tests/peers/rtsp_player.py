"""GStreamer's RTSP client, which decodes pictures and counts what is missing.

Usage: python3 rtsp_player.py URL tcp|udp PICTURES

Prints `picture N` for every picture of Motion JPEG that it decoded, and ends after PICTURES with a TEARDOWN.
For every gap in the numbers of RTP packets it prints `lost N`.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402 (the version is chosen first)


class Player:
    def __init__(self, url, transport, pictures):
        self.wanted, self.pictures = pictures, 0
        self.next_packet = None
        self.loop = GLib.MainLoop()
        self.failed = None
        self.pipeline = Gst.parse_launch(
            "rtspsrc name=source ! rtpjpegdepay name=depay ! jpegdec ! fakesink name=sink sync=false"
        )
        source = self.pipeline.get_by_name("source")
        source.set_property("location", url)
        source.set_property("protocols", transport)
        self.probe("depay", self.packet)
        self.probe("sink", self.picture)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.end(str(message.parse_error())))
        bus.connect("message::eos", lambda *_: self.end("the server ended the stream"))

    def probe(self, element, what):
        pad = self.pipeline.get_by_name(element).get_static_pad("sink")
        # Packets come alone or in lists.
        kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST
        pad.add_probe(kinds, lambda _pad, info: what(info))

    def packet(self, info):
        if info.type & Gst.PadProbeType.BUFFER_LIST:
            packets = info.get_buffer_list()
            buffers = [packets.get(index) for index in range(packets.length())]
        else:
            buffers = [info.get_buffer()]
        for buffer in buffers:
            number = int.from_bytes(buffer.extract_dup(2, 2), "big")
            if self.next_packet not in (None, number):
                print(f"lost {(number - self.next_packet) % 65536}", flush=True)
            self.next_packet = (number + 1) % 65536
        return Gst.PadProbeReturn.OK

    def picture(self, _info):
        self.pictures += 1
        print(f"picture {self.pictures}", flush=True)
        if self.pictures == self.wanted:
            GLib.idle_add(self.end, None)
        return Gst.PadProbeReturn.OK

    def end(self, why):
        if why is not None and self.pictures < self.wanted:
            self.failed = why
        self.loop.quit()

    def play(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        # Sends TEARDOWN.
        self.pipeline.set_state(Gst.State.NULL)
        return self.failed


def main():
    url, transport, pictures = sys.argv[1:]
    Gst.init(None)
    sys.exit(Player(url, transport, int(pictures)).play())


main()
