"""Rows of metadata contexts: choosing them, and NBD_CMD_BLOCK_STATUS."""

import struct

from subject import *
from suite import applies, must, should

OPTIONS = {"LIST_META_CONTEXT": OPT_LIST_META_CONTEXT, "SET_META_CONTEXT": OPT_SET_META_CONTEXT}
STATE_HOLE, STATE_ZERO = 1, 2
STATUS_FORMS = STRUCTURED, EXTENDED

# ---- LIST_META_CONTEXT and SET_META_CONTEXT


def all_names(server):
    return [name for _, name in server.metadata().names(OPT_LIST_META_CONTEXT, server.export)]


def names_of(option, *queries):
    """What a list of queries gets, where base:allocation exists."""
    def ask(server):
        applies(ALLOCATION in all_names(server), "no base:allocation")
        return [name for _, name in server.metadata().names(option, server.export, *queries)]

    return ask


def gets(option, expected, *queries):
    def check(server):
        names = names_of(option, *queries)(server)
        assert names == expected, names

    return check


@must("Metadata querying", "names of contexts are namespace:leaf, and strings")
def _(server):
    for name in all_names(server):
        namespace, colon, _ = name.partition(":")
        assert namespace and colon and namespace.isprintable() and " " not in namespace and len(name) <= 4096, name


@should("NBD_OPT_LIST_META_CONTEXT", "the ids that LIST_META_CONTEXT tells are zero")
def _(server):
    assert all(number == 0 for number, _ in server.metadata().names(OPT_LIST_META_CONTEXT, server.export))


LIST, SET = OPTIONS.values()
must("NBD_OPT_LIST_META_CONTEXT", "LIST_META_CONTEXT of base:allocation finds it")(gets(LIST, [ALLOCATION], ALLOCATION))
must("The base: metadata namespace", "LIST_META_CONTEXT of base: finds base:allocation")(
    gets(LIST, [ALLOCATION], "base:"))
must("The base: metadata namespace", "LIST_META_CONTEXT ignores an unknown leaf of base:")(gets(LIST, [], "base:nonsense"))
must("NBD_OPT_LIST_META_CONTEXT", "LIST_META_CONTEXT ignores an unknown namespace")(gets(LIST, [], "x-nonsense:leaf"))
must("NBD_OPT_LIST_META_CONTEXT", "LIST_META_CONTEXT finds what is there among what is not")(
    gets(LIST, [ALLOCATION], "x-nonsense:leaf", "base:nonsense", ALLOCATION, "y:"))
must("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT of base:allocation selects it")(gets(SET, [ALLOCATION], ALLOCATION))
must("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT without queries selects nothing")(gets(SET, []))
must("The base: metadata namespace", "SET_META_CONTEXT ignores base:")(gets(SET, [], "base:"))
must("The base: metadata namespace", "SET_META_CONTEXT ignores an unknown leaf of base:")(gets(SET, [], "base:nonsense"))
must("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT ignores an unknown namespace")(gets(SET, [], "x-nonsense:leaf"))
must("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT selects what is there among what is not")(
    gets(SET, [ALLOCATION], "x-nonsense:leaf", ALLOCATION, "base:nonsense"))


@must("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT gives each context an id of its own")
def _(server):
    names = [name for name in all_names(server) if not name.endswith(":")]
    selected = server.metadata().names(OPT_SET_META_CONTEXT, server.export, *names)
    assert len({number for number, _ in selected}) == len(selected), selected


@should("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT answers once for a context that is named twice")
def _(server):
    selected = server.metadata().names(OPT_SET_META_CONTEXT, server.export, ALLOCATION, ALLOCATION)
    applies(selected, "no base:allocation")
    assert len(selected) == 1, selected


def takes_colonless(option):
    def check(server):
        assert server.metadata().final(option, meta_query(server.export, ["nonsense"])) in (REP_ACK, ERR_INVALID)

    return check


def takes_long(option):
    def check(server):
        replies = server.metadata().option(option, meta_query(server.export, ["x-" + "n" * 1000 + ":" + "n" * 3000]))
        assert [reply.type for reply in replies] == [REP_ACK], replies

    return check


def takes_longest_strings(option):
    """An export name and one query, each of the most that a string may have: what there may be too many of is queries."""
    def check(server):
        kind = server.metadata().final(option, meta_query("n" * 4096, ["x-nonsense:" + "q" * 4085]))
        assert kind in (REP_ACK, ERR_UNKNOWN), f"{kind:#x}"

    return check


def takes_many(option):
    def check(server):
        kind = server.metadata().final(option, meta_query(server.export, [f"x-n{i}:leaf" for i in range(100)]))
        assert kind in (REP_ACK, ERR_TOO_BIG), f"{kind:#x}"

    return check


def refuses_unknown_export(option):
    def check(server):
        kind = server.metadata().final(option, meta_query(server.unknown_name(), [ALLOCATION]))
        assert kind in (ERR_UNKNOWN, ERR_TLS_REQD, ERR_INVALID), f"{kind:#x}"

    return check


def malformed_queries(export):
    name = struct.pack(">I", len(export)) + export
    return {
        "no data": b"",
        "a name that reaches past the option": struct.pack(">I", len(export) + 100) + export + bytes(4),
        "a name's length of 2^32 - 1": struct.pack(">I", 2**32 - 1) + export + bytes(4),
        "no number of queries": name,
        "more queries counted than there are": name + struct.pack(">II", 2, 5) + b"base:",
        "a query that reaches past the option": name + struct.pack(">II", 1, 500) + b"base:",
        "a query's length of 2^32 - 1": name + struct.pack(">II", 1, 2**32 - 1) + b"base:",
    }


def refuses_malformed(option, what):
    def check(server):
        kind = server.metadata().final(option, malformed_queries(server.export.encode())[what])
        assert kind == ERR_INVALID, f"{kind:#x}"

    return check


def goes_on_after_malformed(option):
    def check(server):
        talk = server.metadata()
        for data in malformed_queries(server.export.encode()).values():
            assert talk.final(option, data) != REP_ACK
        server.go(talk)

    return check


for word, number in OPTIONS.items():
    section = f"NBD_OPT_{word}"
    must(section, f"{word} of a query without a colon is acknowledged or invalid")(takes_colonless(number))
    should(section, f"{word} of a query of 4003 bytes is acknowledged")(takes_long(number))
    should(section, f"{word} with a name and a query of 4096 bytes each is understood")(takes_longest_strings(number))
    must(section, f"{word} of 100 unknown queries is acknowledged or too big")(takes_many(number))
    should(section, f"{word} for an unknown export is refused")(refuses_unknown_export(number))
    for what in malformed_queries(b""):
        must(section, f"{word} with {what}: ERR_INVALID")(refuses_malformed(number, what))
    must(section, f"after {word} that was refused, haggling goes on")(goes_on_after_malformed(number))


@should("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT before structured replies: ERR_INVALID")
def _(server):
    server.metadata()
    kind = server.greeted().final(OPT_SET_META_CONTEXT, meta_query(server.export, [ALLOCATION]))
    assert kind in (ERR_INVALID, ERR_EXT_HEADER_REQD), f"{kind:#x}"


@must("NBD_OPT_LIST_META_CONTEXT", "LIST_META_CONTEXT before structured replies is answered")
def _(server):
    server.metadata()
    kind = server.greeted().final(OPT_LIST_META_CONTEXT, meta_query(server.export, ["base:"]))
    assert kind in (REP_ACK, ERR_INVALID, ERR_EXT_HEADER_REQD), f"{kind:#x}"


@must("NBD_OPT_SET_META_CONTEXT", "metadata contexts work behind extended headers alone")
def _(server):
    talk = server.metadata(EXTENDED)
    assert [name for _, name in talk.names(OPT_SET_META_CONTEXT, server.export, ALLOCATION)] == [ALLOCATION]


# ---- what remains selected


def selecting(server):
    """Haggling, with base:allocation selected for the export."""
    talk = server.metadata()
    applies(talk.names(OPT_SET_META_CONTEXT, server.export, ALLOCATION), "no base:allocation")
    return talk


def status_error(server, talk):
    return server.go(talk).ask(CMD_BLOCK_STATUS, 0, server.unit).error


@should("NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS without contexts: EINVAL")
def _(server):
    assert status_error(server, server.metadata()) == EINVAL


@should("NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS without structured replies: EINVAL")
def _(server):
    assert server.transmission().ask(CMD_BLOCK_STATUS, 0, server.unit).error == EINVAL


@should("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT without queries takes back what was selected")
def _(server):
    talk = selecting(server)
    talk.names(OPT_SET_META_CONTEXT, server.export)
    assert status_error(server, talk) == EINVAL


@should("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT that fails takes back what was selected")
def _(server):
    talk = selecting(server)
    assert talk.final(OPT_SET_META_CONTEXT, b"\0\0") == ERR_INVALID
    assert status_error(server, talk) == EINVAL


@should("NBD_OPT_SET_META_CONTEXT", "SET_META_CONTEXT for another export does not count at GO")
def _(server):
    others = [name.decode() for name, _ in server.listed if name.decode() != server.export]
    applies(others, "there is no other export")
    talk = server.metadata()
    applies(talk.names(OPT_SET_META_CONTEXT, others[0], ALLOCATION), "no base:allocation")
    assert status_error(server, talk) == EINVAL


@must("NBD_OPT_SET_META_CONTEXT", "LIST_META_CONTEXT and INFO leave what was selected")
def _(server):
    talk = selecting(server)
    talk.names(OPT_LIST_META_CONTEXT, server.export)
    assert talk.final(OPT_INFO, info_request(server.export)) == REP_ACK
    assert status_error(server, talk) == 0


@must("NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS works behind EXPORT_NAME")
def _(server):
    talk = selecting(server)
    talk.send_option(OPT_EXPORT_NAME, server.export.encode())
    talk.receive(10)
    assert talk.ask(CMD_BLOCK_STATUS, 0, server.unit).error == 0


# ---- BLOCK_STATUS


def status(server, form, offset=0, length=None, flags=0):
    """Of a range; without a length, of what a server has that is no less than 4 MiB. (talk, answer)"""
    talk = server.transmission(form, (ALLOCATION,))
    answer = talk.ask(CMD_BLOCK_STATUS, offset, length or min(server.size, 4 << 20), flags)
    assert answer.error == 0, answer.error
    return talk, answer


def make_layout(server):
    """Data, zeroes and data again, where a client can make them."""
    if server.is_read_only or not server.plain.flags & SEND_WRITE_ZEROES:
        return
    talk = server.transmission()
    for offset, size in ((0, 128 << 10), (512 << 10, 64 << 10)):
        assert talk.write(offset, b"d" * size).error == 0
    assert talk.ask(CMD_WRITE_ZEROES, 128 << 10, 384 << 10).error == 0


def on_forms(level, section, name):
    """A row for each form: what @check says of (server, form)."""
    def add(check):
        for form in STATUS_FORMS:
            level(section, f"{name} ({form})")(lambda server, form=form: check(server, form))

    return add


@on_forms(must, "NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS has one status chunk for the context selected, with its id")
def _(server, form):
    talk, answer = status(server, form)
    kinds = [chunk.type for chunk in answer.chunks if chunk.type]
    assert kinds == [CHUNK_STATUS_EXT if form == EXTENDED else CHUNK_STATUS], kinds
    assert list(answer.extents()) == [talk.contexts[0][0]]


@on_forms(must, "NBD_REPLY_TYPE_BLOCK_STATUS", "a status chunk's length is that of its extents, and of at least one")
def _(server, form):
    _, answer = status(server, form)
    for chunk in answer.chunks:
        if chunk.type == CHUNK_STATUS:
            assert len(chunk.payload) >= 12 and (len(chunk.payload) - 4) % 8 == 0
        elif chunk.type == CHUNK_STATUS_EXT:
            count, = struct.unpack(">I", chunk.payload[4:8])
            assert count and len(chunk.payload) == 8 + 16 * count


@on_forms(must, "NBD_REPLY_TYPE_BLOCK_STATUS", "extents have a length")
def _(server, form):
    make_layout(server)
    _, answer = status(server, form)
    assert all(length for extents in answer.extents().values() for length, _ in extents)


@on_forms(must, "NBD_REPLY_TYPE_BLOCK_STATUS", "only the last extent reaches the end of what was asked for")
def _(server, form):
    make_layout(server)
    for length in (server.unit, 256 << 10, min(server.size, 1 << 20)):
        _, answer = status(server, form, 0, length)
        for extents in answer.extents().values():
            assert sum(extent[0] for extent in extents[:-1]) < length, (length, extents)


@on_forms(must, "NBD_CMD_FLAG_REQ_ONE", "REQ_ONE brings one extent, not longer than asked for")
def _(server, form):
    make_layout(server)
    for length in (server.unit, 256 << 10, min(server.size, 1 << 20)):
        _, answer = status(server, form, 0, length, FLAG_REQ_ONE)
        for extents in answer.extents().values():
            assert len(extents) == 1 and extents[0][0] <= length, (length, extents)


@on_forms(must, "NBD_CMD_BLOCK_STATUS", "extents are multiples of the minimum block size")
def _(server, form):
    make_layout(server)
    _, answer = status(server, form)
    assert all(length % server.block_sizes[0] == 0 for extents in answer.extents().values() for length, _ in extents)


@on_forms(should, "base:allocation", "reserved status flags are zero")
def _(server, form):
    _, answer = status(server, form)
    assert all(flags < 4 for extents in answer.extents().values() for _, flags in extents)


@on_forms(must, "base:allocation", "what is said to be zero reads as zeroes")
def _(server, form):
    make_layout(server)
    talk, answer = status(server, form)
    at = 0
    for length, flags in next(iter(answer.extents().values())):
        if flags & STATE_ZERO:
            size = min(length, 256 << 10, server.size - at)
            assert talk.ask(CMD_READ, at, size).bytes() == bytes(size), f"not zero at {at}"
        at += length


@on_forms(must, "base:allocation", "data is not said to be zero")
def _(server, form):
    applies(not server.is_read_only, "the export is read-only")
    make_layout(server)
    assert server.transmission().write(0, b"d" * (128 << 10)).error == 0
    _, answer = status(server, form, 0, 128 << 10)
    at = 0
    for length, flags in next(iter(answer.extents().values())):
        assert at >= 128 << 10 or not flags & STATE_ZERO
        at += length


@on_forms(should, "NBD_CMD_BLOCK_STATUS", "neighbouring extents differ")
def _(server, form):
    make_layout(server)
    _, answer = status(server, form)
    for extents in answer.extents().values():
        assert all(one[1] != next_one[1] for one, next_one in zip(extents, extents[1:])), extents


@on_forms(should, "NBD_CMD_BLOCK_STATUS", "extents are multiples of 512 bytes")
def _(server, form):
    make_layout(server)
    _, answer = status(server, form)
    assert all(length % 512 == 0 for extents in answer.extents().values() for length, _ in extents[:-1])


@on_forms(should, "NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS longer than the export: EINVAL")
def _(server, form):
    talk = server.transmission(form, (ALLOCATION,))
    applies(server.size + server.unit < 1 << 32, "the export is too large")
    assert talk.ask(CMD_BLOCK_STATUS, 0, server.size + server.unit).error == EINVAL


@on_forms(must, "NBD_CMD_BLOCK_STATUS", "asking on behind each reply ends at the end of the export")
def _(server, form):
    make_layout(server)
    talk = server.transmission(form, (ALLOCATION,))
    at = steps = 0
    while at < server.size:
        answer = talk.ask(CMD_BLOCK_STATUS, at, min(server.size - at, 1 << 30))
        assert answer.error == 0
        at += sum(length for length, _ in next(iter(answer.extents().values())))
        steps += 1
        applies(steps < 10000, "too many extents")


# ---- BLOCK_STATUS with a payload (extended headers)


def payload(length, *ids):
    return struct.pack(">Q", length) + b"".join(struct.pack(">I", number) for number in ids)


def filtering(server):
    talk = server.transmission(EXTENDED, (ALLOCATION,))
    applies(talk.flags & STATUS_PAYLOAD, "no BLOCK_STATUS_PAYLOAD")
    return talk, talk.contexts[0][0]


def ask_filtered(talk, data):
    answer = talk.ask(CMD_BLOCK_STATUS, 0, len(data), FLAG_PAYLOAD_LEN, data)
    assert talk.ask(CMD_READ, 0, 4096).error == 0, "the stream is lost"
    return answer


@must("NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS with a payload answers for the contexts named")
def _(server):
    talk, number = filtering(server)
    answer = ask_filtered(talk, payload(server.unit, number))
    assert answer.error == 0 and list(answer.extents()) == [number]


def filter_fails(name, make):
    @must("NBD_CMD_BLOCK_STATUS", f"BLOCK_STATUS with a payload that names {name}: EINVAL, and the stream goes on")
    def _(server):
        talk, number = filtering(server)
        error = ask_filtered(talk, make(server.unit, number)).error
        assert error == EINVAL, error


filter_fails("an unknown context", lambda length, number: payload(length, number ^ 0x7E57))
filter_fails("one context twice", lambda length, number: payload(length, number, number))
filter_fails("half a context", lambda length, number: payload(length, number)[:-2])
filter_fails("nothing, not even a length", lambda length, number: payload(length)[:4])


@must("NBD_CMD_BLOCK_STATUS", "BLOCK_STATUS with a payload where none is offered: EINVAL, and the stream goes on")
def _(server):
    talk = server.transmission(EXTENDED)
    applies(not talk.flags & STATUS_PAYLOAD, "it is offered")
    assert ask_filtered(talk, payload(server.unit, 1)).error == EINVAL
