"""Rows of the handshake: the greeting, client flags, and each option but those about metadata contexts."""

import struct

from subject import *
from suite import applies, must, should

NEGOTIATION_ERRORS = range(ERR_UNSUP, ERR_EXT_HEADER_REQD + 1)


def is_string(data):
    """A string as "Conventions" has them."""
    return len(data) <= 4096 and b"\0" not in data and data.decode() is not None


def infos_of(replies):
    return [(struct.unpack(">H", reply.data[:2])[0], reply.data[2:]) for reply in replies if reply.type == REP_INFO]


def still_haggles(server, talk):
    """The next option is read and understood."""
    replies = talk.option(OPT_INFO, info_request(server.export))
    return replies[-1].type == REP_ACK and replies[-1].option == OPT_INFO


# ---- greeting and client flags


@must("Newstyle negotiation", "the greeting is NBDMAGIC and IHAVEOPT")
def _(server):
    assert server.connect().receive(16) == b"NBDMAGICIHAVEOPT"


@must("Handshake flags", "the greeting offers fixed newstyle")
def _(server):
    assert server.connect().greet() & FIXED_NEWSTYLE


@must("Handshake flags", "the greeting has no other flags than the two defined")
def _(server):
    assert not server.connect().greet() & ~BOTH


def ends_at_client_flags(flags):
    def check(server):
        talk = server.connect()
        talk.greet(flags)
        try:
            talk.send_option(OPT_LIST)
            reply = talk.receive(1)
        except Closed:
            return
        assert not reply, "the next option is answered"

    return check


for bit in (2, 7, 16, 31):
    must("Client flags", f"unknown client flag {bit} ends the connection")(ends_at_client_flags(BOTH | 1 << bit))


@must("Client flags", "NO_ZEROES that was not offered ends the connection")
def _(server):
    talk = server.connect()
    applies(not talk.greet(BOTH) & NO_ZEROES, "NO_ZEROES is offered")
    assert talk.hears_no_more()


# ---- EXPORT_NAME


def by_export_name(server, flags, form=SIMPLE):
    talk = server.haggling(form) if form != SIMPLE else server.greeted(flags)
    talk.send_option(OPT_EXPORT_NAME, server.export.encode())
    talk.size, talk.flags = struct.unpack(">QH", talk.receive(10))
    return talk


@must("NBD_OPT_EXPORT_NAME", "EXPORT_NAME leads to transmission: size, flags, then replies")
def _(server):
    talk = by_export_name(server, BOTH)
    assert talk.flags & HAS_FLAGS
    assert len(talk.ask(CMD_READ, 0, server.unit).data) == server.unit


@must("NBD_FLAG_NO_ZEROES", "EXPORT_NAME without NO_ZEROES is followed by 124 zeroes")
def _(server):
    talk = by_export_name(server, FIXED_NEWSTYLE)
    assert talk.receive(124) == bytes(124)
    assert talk.ask(CMD_READ, 0, server.unit).error == 0


@should("Fixed newstyle negotiation", "EXPORT_NAME works for a client that knows no fixed newstyle")
def _(server):
    talk = by_export_name(server, 0)
    assert talk.receive(124) == bytes(124)
    assert talk.ask(CMD_READ, 0, server.unit).error == 0


@must("NBD_OPT_EXPORT_NAME", "EXPORT_NAME and INFO tell the same size and flags")
def _(server):
    talk = by_export_name(server, BOTH)
    assert (talk.size, talk.flags) == struct.unpack(">QH", server.infos[INFO_EXPORT])


@must("NBD_OPT_EXPORT_NAME", "EXPORT_NAME of an unknown export ends the session")
def _(server):
    talk = server.greeted()
    talk.send_option(OPT_EXPORT_NAME, server.unknown_name().encode())
    assert talk.hears_no_more()


@must("NBD_OPT_EXPORT_NAME", "EXPORT_NAME of an unknown export of 4096 bytes ends the session")
def _(server):
    talk = server.greeted()
    server.unknown_name()
    talk.send_option(OPT_EXPORT_NAME, b"n" * 4096)
    assert talk.hears_no_more()


@must("NBD_OPT_STRUCTURED_REPLY", "EXPORT_NAME after STRUCTURED_REPLY leads to structured replies")
def _(server):
    talk = by_export_name(server, BOTH, STRUCTURED)
    assert not talk.ask(CMD_READ, 0, server.unit).is_simple


# ---- options in general


def refused_as_unknown(option, data):
    def check(server):
        talk = server.greeted()
        reply = talk.option(option, data)[-1]
        assert reply.option == option
        assert reply.type == ERR_UNSUP, f"{reply.type:#x}"

    return check


for number in (0, 4, 12, 0x7E57, 0xFFFFFFFF):
    must("Baseline", f"option {number:#x} is unknown: ERR_UNSUP")(refused_as_unknown(number, b""))
for length in (1, 100, 4096, 10000):
    must("Baseline", f"an unknown option with {length} bytes of data: ERR_UNSUP")(refused_as_unknown(0x7E57, bytes(length)))


@must("Baseline", "after an unknown option with data the next one is understood")
def _(server):
    talk = server.greeted()
    for length in (0, 1, 511, 2000, 10000):
        assert talk.final(0x7E57, b"?" * length) == ERR_UNSUP
        assert still_haggles(server, talk)


@must("Fixed newstyle negotiation", "options that arrive in pieces, byte by byte, are understood")
def _(server):
    talk = server.greeted()
    for byte in option_bytes(OPT_INFO, info_request(server.export)):
        talk.send(bytes([byte]))
    replies = [talk.option_reply()]
    while replies[-1].type == REP_INFO:
        replies.append(talk.option_reply())
    assert replies[-1].type == REP_ACK


@must("Option reply types", "what errors say is a string")
def _(server):
    talk = server.greeted()
    for option, data in ((0x7E57, b""), (OPT_INFO, info_request("no-such")), (OPT_STRUCTURED_REPLY, b"x")):
        reply = talk.option(option, data)[-1]
        assert reply.type < 1 << 31 or is_string(reply.data)


@must("NBD_REP_ACK", "ACK has no data")
def _(server):
    talk = server.greeted()
    for option, data in ((OPT_LIST, b""), (OPT_STRUCTURED_REPLY, b""), (OPT_INFO, info_request(server.export))):
        reply = talk.option(option, data)[-1]
        assert reply.type != REP_ACK or reply.data == b""


@must("Option reply types", "errors have one of the defined types")
def _(server):
    talk = server.greeted()
    for option, data in ((0x7E57, b""), (OPT_STRUCTURED_REPLY, b"x"), (OPT_INFO, info_request("no-such")),
                         (OPT_SET_META_CONTEXT, meta_query("", ()))):
        kind = talk.final(option, data)
        assert kind == REP_ACK or kind in NEGOTIATION_ERRORS, f"{kind:#x}"


# ---- ABORT


@must("NBD_OPT_ABORT", "ABORT is acknowledged")
def _(server):
    assert server.greeted().final(OPT_ABORT) == REP_ACK


@should("NBD_OPT_ABORT", "ABORT with data is acknowledged")
def _(server):
    assert server.greeted().final(OPT_ABORT, b"goodbye") == REP_ACK


@should("NBD_OPT_ABORT", "ABORT with 10000 bytes of data is acknowledged")
def _(server):
    assert server.greeted().final(OPT_ABORT, bytes(10000)) == REP_ACK


@should("NBD_OPT_ABORT", "a client may hang up with ABORT, without waiting for the reply")
def _(server):
    for _ in range(3):
        talk = server.greeted()
        talk.send_option(OPT_ABORT)
        talk.close()
    assert still_haggles(server, server.greeted())


# ---- LIST


@must("NBD_OPT_LIST", "LIST ends with ACK or an error")
def _(server):
    replies = server.greeted().option(OPT_LIST)
    assert replies[-1].type == REP_ACK or replies[-1].type in NEGOTIATION_ERRORS
    assert all(reply.type == REP_SERVER for reply in replies[:-1])


@must("NBD_REP_SERVER", "LIST: each name fits into its reply")
def _(server):
    for reply in server.greeted().option(OPT_LIST)[:-1]:
        assert struct.unpack(">I", reply.data[:4])[0] <= len(reply.data) - 4


@must("NBD_REP_SERVER", "LIST: names and descriptions are strings")
def _(server):
    assert all(is_string(name) and is_string(description) for name, description in server.listed)


@must("NBD_REP_SERVER", "LIST: INFO knows each of the names")
def _(server):
    talk = server.greeted()
    for name, _ in server.listed[:20]:
        assert talk.final(OPT_INFO, info_request(name)) in (REP_ACK, ERR_TLS_REQD, ERR_BLOCK_SIZE_REQD)


@should("NBD_OPT_LIST", "LIST with data is invalid")
def _(server):
    kind = server.greeted().final(OPT_LIST, b"data")
    applies(kind != ERR_POLICY, "LIST is refused")
    assert kind == ERR_INVALID, f"{kind:#x}"


@must("NBD_OPT_LIST", "after a refused LIST the next option is understood")
def _(server):
    talk = server.greeted()
    talk.option(OPT_LIST, b"more data than none")
    assert still_haggles(server, talk)


# ---- INFO and GO

for_both = {"INFO": OPT_INFO, "GO": OPT_GO}


def has_export(option):
    def check(server):
        replies = server.greeted().option(option, info_request(server.export))
        assert replies[-1].type == REP_ACK
        assert [data for info, data in infos_of(replies) if info == INFO_EXPORT]

    return check


def export_is_12_long(option):
    def check(server):
        infos = infos_of(server.greeted().option(option, info_request(server.export)))
        assert all(len(data) == 10 for info, data in infos if info == INFO_EXPORT)

    return check


def ignores_unknown_infos(*infos):
    def check(option):
        def check_option(server):
            replies = server.greeted().option(option, info_request(server.export, infos))
            assert replies[-1].type == REP_ACK, f"{replies[-1].type:#x}"

        return check_option

    return check


def tells_each_once(option):
    def check(server):
        infos = [info for info, _ in infos_of(server.greeted().option(option, info_request(server.export, [1, 2, 3])))]
        assert len(infos) == len(set(infos)), infos

    return check


def refuses_unknown_export(option):
    def check(server):
        kind = server.greeted().final(option, info_request(server.unknown_name()))
        assert kind in (ERR_UNKNOWN, ERR_TLS_REQD), f"{kind:#x}"
        assert kind == ERR_UNKNOWN or not server.is_tls

    return check


def tells_nothing_of_unknown_export(option):
    def check(server):
        assert not infos_of(server.greeted().option(option, info_request(server.unknown_name(), [1, 2, 3])))

    return check


def goes_on_after_unknown_export(option):
    def check(server):
        talk = server.greeted()
        assert talk.final(option, info_request(server.unknown_name())) != REP_ACK
        assert still_haggles(server, talk)
        server.go(talk)

    return check


def knows_no_long_name(option):
    def check(server):
        server.unknown_name()
        assert server.greeted().final(option, info_request("n" * 4096)) in (ERR_UNKNOWN, ERR_TLS_REQD)

    return check


def block_size_is_not_required_of_who_asks(option):
    def check(server):
        assert server.greeted().final(option, info_request(server.export, [INFO_BLOCK_SIZE])) != ERR_BLOCK_SIZE_REQD

    return check


def default_export_exists_or_not(option):
    def check(server):
        kind = server.greeted().final(option, info_request(""))
        assert kind in (REP_ACK, ERR_UNKNOWN, ERR_TLS_REQD, ERR_BLOCK_SIZE_REQD), f"{kind:#x}"

    return check


for word, number in for_both.items():
    section = f"NBD_OPT_{word}"
    must(section, f"{word} sends INFO_EXPORT before its ACK")(has_export(number))
    must("NBD_INFO_EXPORT", f"{word}: the length of INFO_EXPORT is 12")(export_is_12_long(number))
    must(section, f"{word} ignores an unknown information request")(ignores_unknown_infos(0x7E57)(number))
    must(section, f"{word} ignores 100 unknown information requests")(ignores_unknown_infos(*range(1000, 1100))(number))
    must(section, f"{word} takes information requests in any order")(ignores_unknown_infos(3, 0xFFFF, 2, 0, 1)(number))
    should("NBD_REP_INFO", f"{word} sends each information once")(tells_each_once(number))
    must("NBD_REP_ERR_UNKNOWN", f"{word} of an unknown export: ERR_UNKNOWN")(refuses_unknown_export(number))
    must("NBD_REP_ERR_UNKNOWN", f"{word} of an unknown name of 4096 bytes: ERR_UNKNOWN")(knows_no_long_name(number))
    should("NBD_REP_ERR_UNKNOWN", f"{word} tells nothing of an unknown export")(tells_nothing_of_unknown_export(number))
    must(section, f"after {word} of an unknown export, haggling goes on")(goes_on_after_unknown_export(number))
    must("NBD_REP_ERR_BLOCK_SIZE_REQD", f"{word} with a request for block sizes is never refused for want of one")(
        block_size_is_not_required_of_who_asks(number))
    must(section, f"{word} of the empty name is the default export or none")(default_export_exists_or_not(number))


def malformed_infos(name):
    return {
        "no data": b"",
        "one byte": b"\0",
        "no number of information requests": struct.pack(">I", len(name)) + name,
        "a name that reaches past the option": struct.pack(">I", len(name) + 100) + name + b"\0\0",
        "a name's length of 2^32 - 2": struct.pack(">I", 2**32 - 2) + name + b"\0\0",
        "more information requests counted than there are": info_request(name, [3])[:-4] + struct.pack(">HH", 2, 3),
    }


def refuses_malformed(option, what):
    def check(server):
        talk = server.greeted()
        try:
            kind = talk.final(option, malformed_infos(server.export.encode())[what])
        except Closed:
            return
        assert kind == ERR_INVALID, f"{kind:#x}"

    return check


for word, number in for_both.items():
    for what in malformed_infos(b""):
        should("NBD_REP_ERR_INVALID", f"{word} with {what}: ERR_INVALID, or the end")(refuses_malformed(number, what))


def refuses_name(option, name):
    """No name: as a violation of a MUST it may end the connection."""
    def check(server):
        try:
            assert server.greeted().final(option, info_request(name)) != REP_ACK
        except Closed:
            pass

    return check


for word, number in for_both.items():
    should("Conventions", f"{word} of a name with a NUL is refused")(refuses_name(number, b"no\0such"))
    should("Conventions", f"{word} of a name that is not UTF-8 is refused")(refuses_name(number, b"no-\xff\xfe"))
    should("Conventions", f"{word} of a name of 4097 bytes is refused")(refuses_name(number, b"n" * 4097))


@must("NBD_INFO_NAME", "INFO_NAME is a name that LIST has")
def _(server):
    applies(INFO_NAME in server.infos, "no INFO_NAME")
    assert server.infos[INFO_NAME] in [name for name, _ in server.listed]


@must("NBD_INFO_DESCRIPTION", "INFO_DESCRIPTION is the description that LIST has")
def _(server):
    applies(INFO_DESCRIPTION in server.infos, "no INFO_DESCRIPTION")
    described = [description for name, description in server.listed if name == server.export.encode() and description]
    applies(described, "LIST does not describe it")
    assert server.infos[INFO_DESCRIPTION] == described[0]


@must("NBD_INFO_NAME", "name and description are strings")
def _(server):
    texts = [server.infos[info] for info in (INFO_NAME, INFO_DESCRIPTION) if info in server.infos]
    applies(texts, "neither is sent")
    assert all(map(is_string, texts))


@must("NBD_OPT_GO", "GO after INFO with the same parameters tells the same")
def _(server):
    talk = server.greeted()
    both = [talk.option(option, info_request(server.export, [3, 1])) for option in (OPT_INFO, OPT_GO)]
    assert sorted(infos_of(both[0])) == sorted(infos_of(both[1]))


@must("NBD_OPT_INFO", "INFO does not enter transmission")
def _(server):
    talk = server.greeted()
    for _ in range(3):
        assert still_haggles(server, talk)
    server.go(talk)


@must("NBD_OPT_GO", "GO sends no padding, whatever the client's flags")
def _(server):
    talk = server.go(server.greeted(FIXED_NEWSTYLE))
    assert talk.ask(CMD_READ, 0, server.unit).error == 0


@should("Size constraints", "GO without a request for block sizes is served, where they are the default")
def _(server):
    applies(server.block_sizes[0] == 1, "block sizes are not the default")
    assert server.greeted().final(OPT_GO, info_request(server.export)) == REP_ACK


# ---- block sizes


def block_size(server):
    applies(INFO_BLOCK_SIZE in server.infos, "no block sizes are sent")
    return server.block_sizes


@must("NBD_INFO_BLOCK_SIZE", "the length of INFO_BLOCK_SIZE is 14")
def _(server):
    applies(INFO_BLOCK_SIZE in server.infos, "no block sizes are sent")
    assert len(server.infos[INFO_BLOCK_SIZE]) == 12


@must("Size constraints", "the minimum block size is a power of two, 65536 at most")
def _(server):
    minimum = block_size(server)[0]
    assert 0 < minimum <= 65536 and minimum & (minimum - 1) == 0, minimum


@must("Size constraints", "the preferred block size is a power of two, at least 512 and the minimum")
def _(server):
    minimum, preferred, _ = block_size(server)
    assert preferred >= max(512, minimum) and preferred & (preferred - 1) == 0, preferred


@must("Size constraints", "the maximum payload is at least the preferred block size")
def _(server):
    _, preferred, maximum = block_size(server)
    assert maximum >= preferred, (preferred, maximum)


@should("Size constraints", "the maximum payload is at least 1 MiB, if the export is that large")
def _(server):
    applies(server.size >= 1 << 20, "the export is smaller")
    assert block_size(server)[2] >= 1 << 20


@should("Size constraints", "the export's size is a multiple of the minimum block size")
def _(server):
    assert server.size % block_size(server)[0] == 0


# ---- transmission flags


@must("Transmission flags", "HAS_FLAGS is set")
def _(server):
    assert server.plain.flags & HAS_FLAGS


@must("Transmission flags", "SEND_DF is clear without structured replies")
def _(server):
    assert not server.plain.flags & SEND_DF


@must("Transmission flags", "SEND_FAST_ZERO is clear without SEND_WRITE_ZEROES")
def _(server):
    assert server.plain.flags & SEND_WRITE_ZEROES or not server.plain.flags & SEND_FAST_ZERO


def has_no_status_payload(form):
    def check(server):
        assert not server.transmission(form).flags & STATUS_PAYLOAD

    return check


for form in (SIMPLE, STRUCTURED):
    must("Transmission flags", f"BLOCK_STATUS_PAYLOAD is clear with {form} replies")(has_no_status_payload(form))
should("Transmission flags", "BLOCK_STATUS_PAYLOAD is clear without metadata contexts")(has_no_status_payload(EXTENDED))


# ---- STRUCTURED_REPLY and EXTENDED_HEADERS

forms_of = {"STRUCTURED_REPLY": STRUCTURED, "EXTENDED_HEADERS": EXTENDED}


def acknowledged_or_unknown(form):
    def check(server):
        assert server.greeted().final(FORM_OPTION[form]) in (REP_ACK, ERR_UNSUP)

    return check


def invalid_with_data(form):
    def check(server):
        server.haggling(form)
        kind = server.greeted().final(FORM_OPTION[form], b"data")
        assert kind == ERR_INVALID, f"{kind:#x}"

    return check


def refused_is_not_negotiated(form):
    def check(server):
        server.haggling(form)
        talk = server.greeted()
        applies(talk.final(FORM_OPTION[form], b"data") != REP_ACK, "it is not refused")
        assert server.go(talk).ask(CMD_READ, 0, server.unit).is_simple

    return check


def twice(form):
    def check(server):
        talk = server.haggling(form)
        assert talk.final(FORM_OPTION[form]) in (REP_ACK, ERR_INVALID)
        assert not server.go(talk).ask(CMD_READ, 0, server.unit).is_simple

    return check


for word, form in forms_of.items():
    section = f"NBD_OPT_{word}"
    must(section, f"{word} is acknowledged, or unknown")(acknowledged_or_unknown(form))
    should(section, f"{word} with data is invalid")(invalid_with_data(form))
    must(section, f"{word} that was refused is not negotiated")(refused_is_not_negotiated(form))
    must(section, f"{word} twice is acknowledged or invalid, and stays negotiated")(twice(form))


@must("NBD_OPT_EXTENDED_HEADERS", "EXTENDED_HEADERS takes precedence over STRUCTURED_REPLY before it")
def _(server):
    talk = server.haggling(STRUCTURED)
    applies(talk.final(OPT_EXTENDED_HEADERS) == REP_ACK, "no extended headers")
    talk.form = EXTENDED
    assert server.go(talk).ask(CMD_READ, 0, server.unit).error == 0


@must("NBD_OPT_STRUCTURED_REPLY", "STRUCTURED_REPLY after EXTENDED_HEADERS: ERR_EXT_HEADER_REQD, and they stay")
def _(server):
    talk = server.haggling(EXTENDED)
    assert talk.final(OPT_STRUCTURED_REPLY) == ERR_EXT_HEADER_REQD
    assert server.go(talk).ask(CMD_READ, 0, server.unit).error == 0


@must("NBD_OPT_GO", "GO after EXTENDED_HEADERS is never ERR_UNSUP")
def _(server):
    assert server.haggling(EXTENDED).final(OPT_GO, info_request(server.export)) != ERR_UNSUP


# ---- STARTTLS


def plain(server):
    applies(not server.is_tls, "the connection is TLS")
    return server.greeted()


@must("NBD_OPT_STARTTLS", "STARTTLS is acknowledged or refused")
def _(server):
    kind = plain(server).final(OPT_STARTTLS)
    assert kind == REP_ACK or kind in NEGOTIATION_ERRORS and kind != ERR_TLS_REQD


@must("NBD_OPT_STARTTLS", "STARTTLS with data is acknowledged or refused, and haggling goes on")
def _(server):
    talk = plain(server)
    kind = talk.final(OPT_STARTTLS, b"data")
    applies(kind != REP_ACK, "TLS is to follow")
    assert kind in NEGOTIATION_ERRORS and still_haggles(server, talk)


@must("NOTLS mode", "a server without TLS never answers ERR_TLS_REQD")
def _(server):
    talk = plain(server)
    applies(talk.final(OPT_STARTTLS) != REP_ACK, "it has TLS")
    for option, data in ((OPT_LIST, b""), (OPT_INFO, info_request(server.export)), (OPT_STRUCTURED_REPLY, b""),
                         (OPT_INFO, info_request(server.unlikely)), (0x7E57, b""),
                         (OPT_LIST_META_CONTEXT, meta_query(server.export, ())), (OPT_GO, info_request(server.export))):
        assert talk.final(option, data) != ERR_TLS_REQD, option


def secured(server):
    applies(server.is_tls, "the connection is not TLS")
    return server.greeted()


@must("FORCEDTLS mode", "STARTTLS through TLS is invalid")
def _(server):
    talk = secured(server)
    assert talk.final(OPT_STARTTLS) == ERR_INVALID and still_haggles(server, talk)


@must("FORCEDTLS mode", "through TLS nothing is answered ERR_TLS_REQD")
def _(server):
    talk = secured(server)
    for option, data in ((OPT_LIST, b""), (OPT_INFO, info_request(server.unlikely)), (0x7E57, b""),
                         (OPT_GO, info_request(server.unlikely)), (OPT_STRUCTURED_REPLY, b"")):
        assert talk.final(option, data) != ERR_TLS_REQD, option


def before_tls(server):
    """A server that insists on TLS."""
    applies(server.is_tls, "the connection is not TLS")
    talk = server.connect()
    talk.greet(BOTH)
    applies(talk.final(OPT_LIST) == ERR_TLS_REQD, "TLS is not required")
    return talk


@must("FORCEDTLS mode", "before TLS every option but STARTTLS and ABORT: ERR_TLS_REQD")
def _(server):
    talk = before_tls(server)
    for option, data in ((OPT_INFO, info_request(server.export)), (OPT_GO, info_request(server.export)), (0x7E57, b"?"),
                         (OPT_STRUCTURED_REPLY, b""), (OPT_SET_META_CONTEXT, meta_query(server.export, ()))):
        assert talk.final(option, data) == ERR_TLS_REQD, option


@must("FORCEDTLS mode", "before TLS ABORT is acknowledged")
def _(server):
    assert before_tls(server).final(OPT_ABORT) == REP_ACK


@must("FORCEDTLS mode", "before TLS EXPORT_NAME ends the session")
def _(server):
    talk = before_tls(server)
    talk.send_option(OPT_EXPORT_NAME, server.export.encode())
    assert talk.hears_no_more()


@must("NBD_OPT_STARTTLS", "what was negotiated before TLS is forgotten")
def _(server):
    applies(server.is_tls, "the connection is not TLS")
    talk = server.connect()
    talk.greet(BOTH)
    applies(talk.final(OPT_STRUCTURED_REPLY) == REP_ACK, "nothing is negotiated before TLS")
    assert talk.final(OPT_STARTTLS) == REP_ACK
    server.secure(talk)
    server.go(talk)
    assert not talk.flags & SEND_DF and talk.ask(CMD_READ, 0, server.unit).is_simple
