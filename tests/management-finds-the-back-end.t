#!/usr/bin/python3
# What make install leaves for management software is a description of a vhost-user back-end, which names the program
# that is installed, and which says of itself what the description does. Spec: QEMU, docs/interop/vhost-user.json.
# If this fails, libvirt and its kind do not find vnbd-client, or start it with options it does not have.
import json
import os
import stat
import subprocess

from rig import BUILD, TESTS, Rig

TOP = os.path.dirname(TESTS)
TYPES = "9p balloon block caif console crypto gpu input net rng rpmsg rproc-serial scsi vsock fs".split()
BLOCK_FEATURES = ["read-only", "blk-file"]


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def install(root, prefix):
    """Into the folder @root; returns what make said."""
    return run("make", "-C", TOP, "--no-print-directory", "VARIANT=" + os.path.basename(BUILD), "DESTDIR=" + root,
               "PREFIX=" + prefix, "install")


with Rig() as rig:
    root, prefix = rig.path("root"), "/opt/vnbd"
    made = install(root, prefix)
    rig.ok("make install succeeds", made.returncode == 0, made.stdout, made.stderr)
    path = root + prefix + "/share/qemu/vhost-user/50-vnbd-client.json"
    rig.ok("there is a description", os.path.exists(path), *os.listdir(root + prefix))
    rig.same("everybody may read it", 0o644, stat.S_IMODE(os.stat(path).st_mode))
    with open(path) as file:
        told = json.load(file)
    rig.same("it has the fields of VhostUserBackend", ["binary", "description", "type"], sorted(told))
    rig.ok("all are text", all(isinstance(value, str) and value for value in told.values()), told)
    rig.ok("the type is one that there is", told["type"] in TYPES, told)
    rig.same("the program's path is absolute and without DESTDIR", prefix + "/sbin/vnbd-client", told["binary"])
    program = root + told["binary"]
    rig.ok("the program is there", os.access(program, os.X_OK))

    said = run(program, "--print-capabilities")
    rig.ok("it tells what it can do", said.returncode == 0 and not said.stderr, said.stderr)
    able = json.loads(said.stdout)
    rig.same("which is of the same type", told["type"], able["type"])
    rig.ok("its features are those that there are", set(able["features"]) <= set(BLOCK_FEATURES), able)
    usage = run(program, "--help").stdout
    rig.ok("and options that it has", all(f"--{feature}" in usage for feature in able["features"]), able)
    rig.ok("the options every back-end has are there",
           all(option in usage for option in ("--socket-path=", "--fd=", "--print-capabilities")))
    rig.same("other options beside that one do not matter", said.stdout,
             run(program, "--socket-path=/nowhere/x", "--print-capabilities", "--read-only", "nbd://nobody").stdout)
    rig.ok("the manual says where the description is",
           "share/qemu/vhost-user/50-vnbd-client.json" in open(os.path.join(TOP, "client/vnbd-client.8")).read())
