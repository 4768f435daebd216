#!/usr/bin/python3
# If this fails, a client that looks around before it chooses (nbdinfo, nbdcopy, qemu's --list) cannot reach its export.
from rig import Rig, skip_all

try:
    import nbd
except ImportError:
    skip_all("python3-libnbd is not installed")


def error_of(function, *arguments):
    try:
        function(*arguments)
    except nbd.Error as error:
        return error.errno
    return None


with Rig() as rig:
    server = rig.server("--export", f"a={rig.disk('a', '1M')},description=first, and best".replace(", ", ",, "),
                        "--export", f"b={rig.disk('b', '2M')},readonly")

    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_uri(server.uri("nix"))
    names = []
    h.opt_list(lambda name, description: names.append((name, description)) or 0)
    rig.same("LIST", [("a", "first, and best"), ("b", "")], names)
    rig.same("INFO of an unknown export", "ENOENT", error_of(h.opt_info))
    rig.same("GO of an unknown export", "ENOENT", error_of(h.opt_go))
    h.set_export_name("b")
    h.opt_info()
    rig.same("INFO of one of them", (2 << 20, True), (h.get_size(), h.is_read_only()))
    h.set_export_name("a")
    h.opt_info()
    rig.same("INFO of another", (1 << 20, False), (h.get_size(), h.is_read_only()))
    names.clear()
    h.opt_list(lambda name, description: names.append(name) or 0)
    rig.same("LIST once more", ["a", "b"], names)
    h.opt_go()
    rig.same("GO after two refusals", (1 << 20, b"\0" * 4096), (h.get_size(), bytes(h.pread(4096, 0))))
    h.shutdown()

    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_uri(server.uri("a"))
    h.opt_abort()
    rig.ok("ABORT ends the connection in order", h.aio_is_closed() or h.aio_is_dead() is False)

    h = nbd.NBD()
    h.set_full_info(True)
    h.connect_uri(server.uri("a"))
    rig.same("the description", "first, and best", h.get_export_description())
    rig.same("the canonical name", "a", h.get_canonical_export_name())
    h.shutdown()
