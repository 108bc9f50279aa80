#!/usr/bin/env python3
"""An NTP server (RFC 5905, section 7.3) on the host's loopback that tells the host's time: ntp-server.py ADDRESS PORT"""

import socket
import struct
import sys
import time

ERA = 2208988800  # NTP counts from 1900


def timestamp(seconds: float) -> bytes:
    return struct.pack("!II", int(seconds) + ERA, int(seconds % 1 * 2**32))


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((sys.argv[1], int(sys.argv[2])))
    while True:
        request, client = server.recvfrom(512)
        now = timestamp(time.time())
        # No leap second is near, version 4, a server of stratum 1, a microsecond precise; then delay, dispersion, name.
        head = struct.pack("!BBbbII4s", 0x24, 1, request[2], -20, 0, 0, b"TEST")
        server.sendto(head + now + request[40:48] + now + timestamp(time.time()), client)


main()
