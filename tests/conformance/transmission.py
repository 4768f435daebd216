"""Rows of the transmission phase: each command in each form of replies, flags, ranges, payloads and the end."""

import struct

from subject import *
from suite import applies, must, should

ERRORS = EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN
CHUNKED = STRUCTURED, EXTENDED
PAYLOAD_PORTABLE = 1 << 25  # what no server is to take for an attack
DF_MIN = 65536
FLAGS = {FLAG_NO_HOLE: "NO_HOLE", FLAG_DF: "DF", FLAG_REQ_ONE: "REQ_ONE", FLAG_FAST_ZERO: "FAST_ZERO",
         1 << 15: "an unknown flag"}
LEGAL = {(CMD_READ, FLAG_DF), (CMD_WRITE_ZEROES, FLAG_NO_HOLE), (CMD_WRITE_ZEROES, FLAG_FAST_ZERO),
         (CMD_BLOCK_STATUS, FLAG_REQ_ONE)}
UNKNOWN_COMMANDS = 8, 9, 0x7E57, 0xFFFF


def on_forms(level, section, name, forms=FORMS):
    """A row for each form: what @check says of (server, form)."""
    def add(check):
        for form in forms:
            level(section, f"{name} ({form})")(lambda server, form=form: check(server, form))

    return add


def on_commands(level, section, name, commands, *arguments):
    """A row for each command: what @check says of (server, command)."""
    def add(check):
        for command in commands:
            level(section, name.format(COMMANDS[command]))(lambda server, command=command: check(server, command))

    return add


def request(server, talk, command, flags=0, offset=0):
    """One command on the export's first unit."""
    payload = b"p" * server.unit if command == CMD_WRITE else b""
    return talk.ask(command, offset, 0 if command == CMD_FLUSH else server.unit, flags, payload)


def goes_on(server, talk):
    """The stream is in step: the next request is read and answered."""
    return talk.ask(CMD_READ, 0, server.unit).error == 0


def pattern(length, seed=1):
    return bytes((seed * 31 + i * 7 + i // 256) % 251 for i in range(1024)) * (length // 1024 + 1)


def lay_out(server, talk):
    """Data, zeroes, data: 64 KiB each, if they can be made. Returns what the first 192 KiB hold, or None."""
    if server.is_read_only or server.size < 256 << 10:
        return None
    part = 64 << 10
    data = pattern(part)[:part]
    for at in (0, 2 * part):
        assert talk.write(at, data).error == 0
    if talk.flags & SEND_WRITE_ZEROES:
        assert talk.ask(CMD_WRITE_ZEROES, part, part).error == 0
    else:
        assert talk.write(part, bytes(part)).error == 0
    return data + bytes(part) + data


# ---- the form of replies


@on_forms(must, "Simple reply message", "each command is answered in the form negotiated")
def _(server, form):
    talk = server.transmission(form)
    for command in (CMD_READ, CMD_FLUSH, CMD_CACHE):
        if talk.flags & OFFERED_BY[command]:
            request(server, talk, command)
    if not server.is_read_only:
        assert talk.write(0, bytes(server.unit)).error == 0
    talk.ask(0x7E57)


@on_forms(must, "NBD_CMD_READ", "READ is answered by chunks", CHUNKED)
def _(server, form):
    assert not request(server, server.transmission(form), CMD_READ).is_simple


@on_forms(must, "Structured reply chunk message", "READ that fails is answered by chunks", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    for answer in (talk.ask(CMD_READ, server.size, server.unit), request(server, talk, CMD_READ, 1 << 15)):
        assert not answer.is_simple
        assert answer.error, "it does not fail"


@on_forms(should, "Structured reply chunk message", "errors of other commands are chunks as well", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    answer = talk.ask(0x7E57)
    assert answer.error and not answer.is_simple


@must("Extended reply chunk message", "extended replies echo the request's offset")
def _(server):
    talk = server.transmission(EXTENDED)
    answers = [talk.ask(CMD_READ, server.unit, server.unit), talk.ask(CMD_READ, server.size + 7, 1), talk.ask(0x7E57, 99)]
    if not server.is_read_only:
        answers.append(talk.write(3 * server.unit, bytes(server.unit)))
    for answer in answers:
        assert all(chunk.offset == answer.offset for chunk in answer.chunks)


@on_forms(must, "Structured and extended header reply flags", "chunks have no flag but DONE", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    for answer in (request(server, talk, CMD_READ), talk.ask(CMD_READ, server.size, server.unit), talk.ask(0x7E57)):
        assert all(chunk.flags in (0, CHUNK_DONE) for chunk in answer.chunks)


@on_forms(must, "NBD_REPLY_TYPE_NONE", "a chunk of type NONE is empty and the last", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    lay_out(server, talk)
    chunks = []
    for length in (server.unit, min(server.size, 192 << 10)):
        chunks += talk.ask(CMD_READ, 0, length).chunks
    chunks += talk.ask(CMD_FLUSH).chunks if talk.flags & SEND_FLUSH else []
    assert all(chunk.payload == b"" and chunk.flags & CHUNK_DONE for chunk in chunks if chunk.type == CHUNK_NONE)


@on_forms(must, "NBD_REPLY_TYPE_ERROR", "error chunks have an error, and a message that is a string", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    for answer in (talk.ask(CMD_READ, server.size, server.unit), request(server, talk, CMD_READ, 1 << 15)):
        errors = [chunk for chunk in answer.chunks if chunk.type & 0x8000]
        assert errors and all(struct.unpack(">I", chunk.payload[:4])[0] for chunk in errors)
        assert all(len(words) <= 4096 and words.decode() is not None for words in answer.error_words())


@on_forms(must, "Error values", "errors are of the defined values")
def _(server, form):
    talk = server.transmission(form)
    answers = [talk.ask(CMD_READ, server.size, server.unit), request(server, talk, CMD_READ, 1 << 15), talk.ask(0x7E57)]
    answers.append(talk.write(server.size, bytes(server.unit)))
    for answer in answers:
        assert answer.error in (0, *ERRORS), answer.error


# ---- cookies


@on_forms(must, "Request message", "the cookie is echoed, whatever it is")
def _(server, form):
    talk = server.transmission(form)
    for cookie in (0, 1, 0x8000000000000000, 2**64 - 1, 0x6744669867446698):
        assert talk.ask(CMD_READ, 0, server.unit, cookie=cookie).error == 0
        assert talk.ask(0x7E57, cookie=cookie).error


@on_forms(must, "Request message", "32 requests in flight are each answered once")
def _(server, form):
    talk = server.transmission(form)
    cookies = [talk.ask_later(CMD_READ, number * server.unit, server.unit) for number in range(32)]
    answers = talk.answers(32)
    assert sorted(answers) == sorted(cookies)
    assert all(len(answer.bytes()) == server.unit for answer in answers.values())
    assert goes_on(server, talk)


# ---- READ


@on_forms(must, "NBD_CMD_READ", "READ covers what was asked for exactly, with no overlap")
def _(server, form):
    talk = server.transmission(form)
    expected = lay_out(server, talk)
    unit = server.block_sizes[0]
    for offset, length in ((0, server.unit), (server.unit, 64 << 10), (0, 192 << 10), (unit, 131 * unit), (7 * unit, unit)):
        data = talk.ask(CMD_READ, offset, length).bytes()
        assert len(data) == length
        assert expected is None or offset + length > len(expected) or data == expected[offset:offset + length]
    assert len(talk.ask(CMD_READ, server.size - unit, unit).bytes()) == unit


@on_forms(must, "NBD_REPLY_TYPE_OFFSET_DATA", "content chunks have at least one byte and lie within the request", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    lay_out(server, talk)
    for offset, length in ((0, 192 << 10), (server.unit, 100 << 10), (96 << 10, server.unit)):
        for start, size, _ in talk.ask(CMD_READ, offset, length).content():
            assert size > 0 and offset <= start and start + size <= offset + length


@on_forms(must, "NBD_REPLY_TYPE_OFFSET_HOLE", "a hole's chunk has 12 bytes", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    lay_out(server, talk)
    holes = [chunk for chunk in talk.ask(CMD_READ, 0, min(server.size, 1 << 20)).chunks if chunk.type == CHUNK_HOLE]
    applies(holes, "no holes are sent")
    assert all(len(chunk.payload) == 12 for chunk in holes)


@on_forms(should, "NBD_CMD_READ", "chunks are cut at multiples of 512 bytes", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    lay_out(server, talk)
    pieces = talk.ask(CMD_READ, 0, 192 << 10).content()
    assert all(offset % 512 == 0 and length % 512 == 0 for offset, length, _ in pieces)


@on_forms(must, "Structured reply types", "no chunk has more data than the maximum payload", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    maximum = server.block_sizes[2]
    answer = talk.ask(CMD_READ, 0, min(server.size, maximum))
    assert answer.error == 0 and all(len(chunk.payload) - 8 <= maximum for chunk in answer.chunks)


def unfragmented(server, form):
    talk = server.transmission(form)
    applies(talk.flags & SEND_DF, "no SEND_DF")
    return talk


@on_forms(must, "Transmission flags", "SEND_DF is set if READ takes DF", CHUNKED)
def _(server, form):
    talk = server.transmission(form)
    assert talk.flags & SEND_DF or request(server, talk, CMD_READ, FLAG_DF).error


@on_forms(must, "NBD_CMD_FLAG_DF", "READ with DF has one content chunk", CHUNKED)
def _(server, form):
    talk = unfragmented(server, form)
    expected = lay_out(server, talk)
    for offset, length in ((0, server.unit), (0, DF_MIN), (32 << 10, DF_MIN)):
        answer = talk.ask(CMD_READ, offset, length, FLAG_DF)
        assert answer.error == 0 and len(answer.content()) == 1
        data = answer.bytes()
        assert expected is None or data == expected[offset:offset + length]


@on_forms(must, "NBD_CMD_READ", "READ with DF of data and a hole is OFFSET_DATA", CHUNKED)
def _(server, form):
    talk = unfragmented(server, form)
    applies(lay_out(server, talk), "the export cannot be laid out")
    answer = talk.ask(CMD_READ, 32 << 10, DF_MIN, FLAG_DF)
    assert [chunk.type for chunk in answer.chunks if chunk.type] == [CHUNK_DATA]


@on_forms(must, "NBD_CMD_READ", "a long READ with DF has one content chunk, or EOVERFLOW and none", CHUNKED)
def _(server, form):
    talk = unfragmented(server, form)
    answer = talk.ask(CMD_READ, 0, min(server.size, server.block_sizes[2]), FLAG_DF)
    assert len(answer.content()) == (0 if answer.error else 1)
    assert answer.error in (0, EOVERFLOW)


@on_forms(should, "Size constraints", "READ of 32 MiB does not end the connection")
def _(server, form):
    applies(server.size >= PAYLOAD_PORTABLE, "the export is smaller")
    talk = server.transmission(form)
    answer = talk.ask(CMD_READ, 0, PAYLOAD_PORTABLE)
    assert answer.error or len(answer.bytes()) == PAYLOAD_PORTABLE
    assert goes_on(server, talk)


# ---- WRITE and what makes it stable


@on_forms(must, "NBD_CMD_WRITE", "READ finds what WRITE wrote, and nothing else changed")
def _(server, form):
    talk = server.writable(form)
    unit = server.unit
    assert talk.write(0, pattern(16 * unit)[:16 * unit]).error == 0
    assert talk.write(5 * unit, b"w" * unit).error == 0
    expected = bytearray(pattern(16 * unit)[:16 * unit])
    expected[5 * unit:6 * unit] = b"w" * unit
    assert talk.ask(CMD_READ, 0, 16 * unit).bytes() == expected


@must("Transmission flags", "another connection reads what was written, with CAN_MULTI_CONN")
def _(server):
    talk = server.writable()
    applies(talk.flags & CAN_MULTI_CONN, "no CAN_MULTI_CONN")
    other = server.transmission()
    for seed in range(8):
        data = bytes([seed + 1]) * server.unit
        assert talk.write(seed * server.unit, data, FLAG_FUA if talk.flags & SEND_FUA else 0).error == 0
        assert talk.flags & SEND_FLUSH == 0 or talk.ask(CMD_FLUSH).error == 0
        assert other.ask(CMD_READ, seed * server.unit, server.unit).bytes() == data


@on_forms(should, "Size constraints", "WRITE of 32 MiB does not end the connection")
def _(server, form):
    applies(server.size >= PAYLOAD_PORTABLE, "the export is smaller")
    applies(form != EXTENDED or server.block_sizes[2] >= PAYLOAD_PORTABLE, "it is past the maximum payload")
    talk = server.writable(form)
    talk.write(0, bytes(PAYLOAD_PORTABLE))
    assert goes_on(server, talk)


@on_forms(must, "NBD_CMD_FLUSH", "FLUSH succeeds")
def _(server, form):
    talk = server.offering(CMD_FLUSH, form)
    if not server.is_read_only:
        assert talk.write(0, bytes(server.unit)).error == 0
    assert talk.ask(CMD_FLUSH).error == 0


@on_commands(must, "NBD_CMD_FLAG_FUA", "{} takes FUA", COMMANDS)
def _(server, command):
    talk = server.offering(command)
    applies(talk.flags & SEND_FUA, "no SEND_FUA")
    assert request(server, talk, command, FLAG_FUA).error == 0


# ---- WRITE_ZEROES, TRIM, CACHE


def zeroes(server, form, flags, errors=(0,)):
    """Of data, with @flags: which becomes zeroes, or stays, and its neighbours stay."""
    talk = server.offering(CMD_WRITE_ZEROES, form)
    applies(not flags & FLAG_FAST_ZERO or talk.flags & SEND_FAST_ZERO, "no SEND_FAST_ZERO")
    applies(not flags & FLAG_FUA or talk.flags & SEND_FUA, "no SEND_FUA")
    unit = server.unit
    for length in (unit, 64 << 10):
        data = pattern(length + 2 * unit)[:length + 2 * unit]
        assert talk.write(0, data).error == 0
        error = talk.ask(CMD_WRITE_ZEROES, unit, length, flags).error
        assert error in errors, error
        middle = data[unit:-unit] if error else bytes(length)
        assert talk.ask(CMD_READ, 0, len(data)).bytes() == data[:unit] + middle + data[-unit:]


on_forms(must, "NBD_CMD_WRITE_ZEROES", "WRITE_ZEROES writes zeroes, and nothing else changes")(
    lambda server, form: zeroes(server, form, 0))
must("NBD_CMD_FLAG_NO_HOLE", "WRITE_ZEROES with NO_HOLE writes zeroes")(
    lambda server: zeroes(server, SIMPLE, FLAG_NO_HOLE))
must("NBD_CMD_FLAG_FUA", "WRITE_ZEROES with FUA writes zeroes")(lambda server: zeroes(server, SIMPLE, FLAG_FUA))
must("NBD_CMD_FLAG_FAST_ZERO", "WRITE_ZEROES with FAST_ZERO writes zeroes, or nothing: ENOTSUP")(
    lambda server: zeroes(server, SIMPLE, FLAG_FAST_ZERO, (0, ENOTSUP)))
must("NBD_CMD_FLAG_FAST_ZERO", "WRITE_ZEROES with FAST_ZERO and NO_HOLE writes zeroes, or nothing: ENOTSUP")(
    lambda server: zeroes(server, SIMPLE, FLAG_FAST_ZERO | FLAG_NO_HOLE, (0, ENOTSUP)))


@on_commands(should, "Size constraints", "{} longer than the maximum payload does not end the connection",
             (CMD_TRIM, CMD_WRITE_ZEROES, CMD_CACHE))
def _(server, command):
    talk = server.offering(command)
    length = (server.block_sizes[2] + server.unit) // server.unit * server.unit
    applies(server.size >= length, "the export is smaller")
    assert talk.ask(command, 0, length).error in (0, EOVERFLOW, EINVAL)
    assert goes_on(server, talk)


@must("NBD_CMD_TRIM", "TRIM leaves its neighbours")
def _(server):
    talk = server.offering(CMD_TRIM)
    unit = server.unit
    data = pattern(18 * unit)[:18 * unit]
    assert talk.write(0, data).error == 0
    assert talk.ask(CMD_TRIM, unit, 16 * unit).error == 0
    after = talk.ask(CMD_READ, 0, 18 * unit).bytes()
    assert (after[:unit], after[-unit:]) == (data[:unit], data[-unit:])


@must("NBD_CMD_CACHE", "CACHE changes nothing")
def _(server):
    talk = server.offering(CMD_CACHE)
    before = talk.ask(CMD_READ, 0, 64 << 10).bytes()
    talk.ask(CMD_CACHE, 0, 64 << 10)
    assert talk.ask(CMD_READ, 0, 64 << 10).bytes() == before


@must("NBD_CMD_CACHE", "CACHE rejects flags it does not know")
def _(server):
    assert request(server, server.offering(CMD_CACHE), CMD_CACHE, 1 << 15).error


# ---- flags where they do not belong


def bad_flag(command, flag, form):
    def check(server):
        talk = server.offering(command, form)
        error = request(server, talk, command, flag).error
        assert error == EINVAL, error
        assert goes_on(server, talk), "the stream is lost"

    return check


for command, word in COMMANDS.items():
    for flag, what in FLAGS.items():
        if (command, flag) not in LEGAL:
            should("Error values", f"{word} with {what}: EINVAL")(bad_flag(command, flag, STRUCTURED))


@should("Error values", "READ with DF without structured replies: EINVAL")
def _(server):
    assert request(server, server.transmission(), CMD_READ, FLAG_DF).error == EINVAL


@should("NBD_CMD_WRITE_ZEROES", "WRITE_ZEROES with FAST_ZERO that is not offered: EINVAL")
def _(server):
    talk = server.offering(CMD_WRITE_ZEROES)
    applies(not talk.flags & SEND_FAST_ZERO, "it is offered")
    assert request(server, talk, CMD_WRITE_ZEROES, FLAG_FAST_ZERO).error == EINVAL


@should("Request message", "READ with PAYLOAD_LEN without extended headers: EINVAL")
def _(server):
    talk = server.transmission(STRUCTURED)
    assert request(server, talk, CMD_READ, FLAG_PAYLOAD_LEN).error == EINVAL
    assert goes_on(server, talk)


# ---- commands that are none


def unknown_command(number, form):
    def check(server):
        talk = server.transmission(form)
        error = talk.ask(number).error
        assert error == EINVAL, error
        assert talk.ask(number, 4096, server.unit).error == EINVAL
        assert goes_on(server, talk), "the stream is lost"

    return check


for number in UNKNOWN_COMMANDS:
    for form in FORMS:
        should("Error values", f"command {number:#x} is unknown: EINVAL ({form})")(unknown_command(number, form))


# ---- ranges


def ranges(server):
    """Each reaches past the end of the export; the last ones past 2^64."""
    unit, size = server.unit, server.size
    return {
        "at the end": (size, unit),
        "across the end": (size - unit, 2 * unit),
        "far behind the end": (size + (1 << 40), unit),
        "at 2^63": (1 << 63, unit),
        "that overflows 2^64": (2**64 - unit, 2 * unit),
    }


RANGE_WORDS = "at the end", "across the end", "far behind the end", "at 2^63", "that overflows 2^64"
RANGE_ERROR = {CMD_READ: EINVAL, CMD_WRITE: ENOSPC, CMD_TRIM: EINVAL, CMD_CACHE: EINVAL, CMD_WRITE_ZEROES: ENOSPC,
               CMD_BLOCK_STATUS: EINVAL}
RANGE_SECTION = {CMD_READ: "Error values", CMD_WRITE: "Error values", CMD_TRIM: "Error values",
                 CMD_CACHE: "Size constraints", CMD_WRITE_ZEROES: "NBD_CMD_WRITE_ZEROES",
                 CMD_BLOCK_STATUS: "Size constraints"}
ERROR_WORDS = {EINVAL: "EINVAL", ENOSPC: "ENOSPC"}


def out_of_range(command, where):
    def check(server):
        talk = server.offering(command)
        offset, length = ranges(server)[where]
        payload = b"x" * length if command == CMD_WRITE else b""
        error = talk.ask(command, offset, length, 0, payload).error
        assert error == RANGE_ERROR[command], error
        assert goes_on(server, talk), "the stream is lost"

    return check


for command, error in RANGE_ERROR.items():
    for where in RANGE_WORDS:
        should(RANGE_SECTION[command], f"{COMMANDS[command]} {where}: {ERROR_WORDS[error]}")(out_of_range(command, where))


@on_forms(should, "Error values", "what is past the end fails in this form too: READ EINVAL, WRITE ENOSPC", CHUNKED)
def _(server, form):
    talk = server.writable(form)
    assert talk.ask(CMD_READ, server.size, server.unit).error == EINVAL
    assert talk.write(server.size, b"x" * server.unit).error == ENOSPC
    assert goes_on(server, talk)


@on_commands(should, "Error values", "{} that is not aligned to the minimum block size: EINVAL",
             (CMD_READ, CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES))
def _(server, command):
    applies(server.block_sizes[0] > 1, "the minimum is one byte")
    talk = server.offering(command)
    for offset, length in ((1, server.unit), (0, server.unit - 1)):
        payload = b"u" * length if command == CMD_WRITE else b""
        assert talk.ask(command, offset, length, 0, payload).error == EINVAL
        assert goes_on(server, talk)


# ---- length 0


def zero_length(command, form):
    def check(server):
        talk = server.offering(command, form)
        talk.ask(command, 0, 0)
        assert goes_on(server, talk), "the stream is lost"

    return check


for command in (CMD_READ, CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES):
    for form in FORMS:
        if command != CMD_WRITE or form != EXTENDED:
            should(f"NBD_CMD_{COMMANDS[command]}", f"{COMMANDS[command]} of length 0 does not end the connection ({form})")(
                zero_length(command, form))
for form in CHUNKED:
    should("NBD_CMD_BLOCK_STATUS", f"BLOCK_STATUS of length 0 does not end the connection ({form})")(
        zero_length(CMD_BLOCK_STATUS, form))


# ---- read-only exports


def changes_read_only(command, form, errors):
    def check(server):
        subject = server.read_only
        talk = subject.transmission(form)
        before = talk.ask(CMD_READ, 0, subject.unit).bytes()
        error = request(subject, talk, command).error
        assert error in errors, error
        assert talk.ask(CMD_READ, 0, subject.unit).bytes() == before

    return check


for command in CHANGING:
    word = COMMANDS[command]
    must("Transmission flags", f"{word} on a read-only export fails, and nothing changes")(
        changes_read_only(command, SIMPLE, ERRORS))
    for form in FORMS:
        should("Error values", f"{word} on a read-only export: EPERM ({form})")(changes_read_only(command, form, (EPERM,)))


# ---- payloads of extended headers


def unexpected_payload(command):
    def check(server):
        talk = server.transmission(EXTENDED)
        applies(talk.flags & OFFERED_BY[command], f"no {COMMANDS[command]}")
        for length in (1, 100, 70000):
            error = talk.ask(command, 0, length, FLAG_PAYLOAD_LEN, b"p" * length).error
            assert error == EINVAL, error
            assert goes_on(server, talk), "the stream is lost"

    return check


for command in (CMD_READ, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES):
    must("NBD_CMD_FLAG_PAYLOAD_LEN", f"{COMMANDS[command]} with a payload: EINVAL, and the stream goes on")(
        unexpected_payload(command))


@should("Request message", "an unknown command with a payload: EINVAL, and the stream goes on")
def _(server):
    talk = server.transmission(EXTENDED)
    assert talk.ask(0x7E57, 0, 1000, FLAG_PAYLOAD_LEN, b"p" * 1000).error == EINVAL
    assert goes_on(server, talk)


@should("Request message", "a payload longer than the maximum ends the connection")
def _(server):
    talk = server.transmission(EXTENDED)
    applies(server.block_sizes[2] < 2**32 - 1, "there is no maximum")
    for length in (max(server.block_sizes[2], PAYLOAD_PORTABLE) + 1, 1 << 40):
        talk.ask_later(CMD_CACHE, 0, length, FLAG_PAYLOAD_LEN)
        assert talk.hears_no_more()
        talk = server.transmission(EXTENDED)


@must("Extended reply chunk message", "lengths of 2^33 and more are understood")
def _(server):
    talk = server.transmission(EXTENDED)
    applies(server.size < 1 << 33, "the export is too large")
    for command in (CMD_READ, CMD_CACHE, CMD_TRIM, CMD_WRITE_ZEROES):
        for length in (1 << 33, (1 << 33) + server.unit, 2**63, 2**64 - server.unit):
            if talk.flags & OFFERED_BY[command]:
                assert talk.ask(command, 0, length).error, f"{COMMANDS[command]} of {length:#x}"
    assert goes_on(server, talk)


# ---- the end


@on_forms(must, "NBD_CMD_DISC", "DISC closes the connection, with no reply")
def _(server, form):
    talk = server.transmission(form)
    talk.ask_later(CMD_DISC)
    assert talk.closed(), "there is a reply, or no end"


@on_forms(should, "NBD_CMD_DISC", "READs in flight are answered before DISC closes")
def _(server, form):
    talk = server.transmission(form)
    cookies = [talk.ask_later(CMD_READ, 0, 64 << 10) for _ in range(8)]
    talk.ask_later(CMD_DISC)
    answers = talk.answers(8)
    assert sorted(answers) == sorted(cookies) and all(len(answer.bytes()) == 64 << 10 for answer in answers.values())
    assert talk.hears_no_more()


@on_forms(must, "NBD_CMD_DISC", "WRITEs in flight are carried out before DISC closes")
def _(server, form):
    talk = server.writable(form)
    data = bytes([65 + FORMS.index(form)]) * server.unit
    for number in range(8):
        talk.ask_later(CMD_WRITE, number * server.unit, server.unit, 0, data)
    talk.ask_later(CMD_DISC)
    assert talk.hears_no_more()
    assert server.transmission().ask(CMD_READ, 0, 8 * server.unit).bytes() == data * 8
