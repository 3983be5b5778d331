"""JPEG files that lost bytes. Decoders of the kind of libjpeg repair most of them."""

import io

import numpy
from PIL import Image

import jpeg
from jpeg_markers import join, parts
from kinds import kind


@kind("jpeg/no-end-marker")
def _no_end(case):
    # Pillow waits for the marker; djpeg warns and reads on. The pixels are those of the complete file.
    whole = jpeg.plain(case, exif=b"", progressive=case.variant % 2 == 1)
    return whole[:-2], numpy.asarray(Image.open(io.BytesIO(whole)))


def _restarts(data):
    """The places of the restart markers."""
    return [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]


@kind("jpeg/lost-restart-marker")
def _lost_restart(case):
    segments, data = parts(case, restart_marker_rows=1)
    places = _restarts(data)
    if places:
        at = places[case.variant % len(places)]
        data = data[:at] + data[at + 2 :]
    return join(segments, data)


@kind("jpeg/wrong-restart-marker")
def _wrong_restart(case):
    segments, data = parts(case, restart_marker_rows=1)
    data, places = bytearray(data), _restarts(data)
    if places:
        at = places[case.variant % len(places)] + 1
        data[at] = 0xD0 | (data[at] + 1) & 7
    return join(segments, bytes(data))


@kind("jpeg/lost-restart-markers-of-several-scans")
def _lost_restarts(case):
    progressive = case.variant % 2 == 1
    body = jpeg.plain(case, exif=b"", restart_marker_rows=1, progressive=progressive)
    for at in reversed(_restarts(body)):
        if case.random.random() < 0.1:
            body = body[:at] + body[at + 2 :]
    return body


@kind("jpeg/progressive-without-last-scans", expectation="refuse")
def _unfinished(case):
    body = jpeg.plain(case, exif=b"", progressive=True)
    scans = [at for at in range(len(body) - 1) if body[at : at + 2] == b"\xff\xda"]
    return body[: scans[-1 - case.variant % 3]] + b"\xff\xd9"


@kind("jpeg/bytes-before-restart-marker")
def _dirty_restart(case):
    segments, data = parts(case, restart_marker_rows=1)
    for at in reversed(_restarts(data)):
        data = data[:at] + b"\0\0" + data[at:]
    return join(segments, data)
