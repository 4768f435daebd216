/* client/main.c -- vnbd-client: the command line, signals, and an exit status. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/bridge.h"
#include "client/socket.h"
#include "client/stripe.h"
#include "conf/cmdline.h"
#include "conf/log.h"
#include "virtio/vduse.h"
#include "virtio/virtio_blk.h"

/* What is in flight when we are told to end gets so long to come to an end; a server that is away gets no more. */
#define STOP_S 2u

/* As long as all that takes where the kernel has to remove a disk first, which waits for much in the kernel. */
#define STOP_VDUSE_S 10u

struct settings {
	struct bridge_config bridge;
	const char *socket_path;
	int fd; /* -1: none */
	const char *vduse;
	bool verbose;
};

struct program {
	struct loop loop;
	ev_signal on_term, on_int, on_hangup;
	struct socket_path socket;
	struct bridge *bridge; /* owned while it serves */
	unsigned stop_s;
	bool failed;
};

/* -- the command line --------------------------------------------------------------------------------------------- */

static int set_socket_path(void *settings, const char *value, char *why)
{
	(void)why;
	((struct settings *)settings)->socket_path = value;
	return 0;
}

static int set_fd(void *settings, const char *value, char *why)
{
	unsigned fd;

	if (cmdline_number(value, 0, 1 << 20, &fd, why))
		return -1;
	((struct settings *)settings)->fd = (int)fd;
	return 0;
}

static int set_vduse(void *settings, const char *value, char *why)
{
	if (!vduse_name_is_valid(value)) {
		snprintf(why, CMDLINE_WHY_SIZE,
			"a device's name is of up to 64 letters, digits, '-', '_', '.'");
		return -1;
	}
	((struct settings *)settings)->vduse = value;
	return 0;
}

static int set_read_only(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->bridge.readonly = true;
	return 0;
}

static int set_num_queues(void *settings, const char *value, char *why)
{
	return cmdline_number(
		value, 1, VIRTIO_BLK_QUEUES_MAX, &((struct settings *)settings)->bridge.num_queues, why);
}

static int set_connections(void *settings, const char *value, char *why)
{
	return cmdline_number(
		value, 1, STRIPE_LINKS_MAX, &((struct settings *)settings)->bridge.connections, why);
}

static int set_serial(void *settings, const char *value, char *why)
{
	if (strlen(value) > VIRTIO_BLK_ID_SIZE) {
		snprintf(why, CMDLINE_WHY_SIZE, "a serial has up to %u characters", VIRTIO_BLK_ID_SIZE);
		return -1;
	}
	for (const char *c = value; *c; c++) {
		if (*c < ' ' || *c > '~') {
			snprintf(why, CMDLINE_WHY_SIZE, "a serial is of printable ASCII characters");
			return -1;
		}
	}
	((struct settings *)settings)->bridge.serial = value;
	return 0;
}

static int set_verbose(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->verbose = true;
	return 0;
}

/* Spec: vhost-user.rst, "Backend program conventions". */
static int print_capabilities(void *settings, const char *value, char *why)
{
	(void)settings;
	(void)value;
	(void)why;
	printf("{\n  \"type\": \"block\",\n  \"features\": [\n    \"read-only\"\n  ]\n}\n");
	exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
}

static int take_uri(void *settings, const char *word, char *why)
{
	struct settings *set = settings;

	if (set->bridge.uri) {
		snprintf(why, CMDLINE_WHY_SIZE, "there is an NBD URI already");
		return -1;
	}
	set->bridge.uri = word;
	return 0;
}

static const struct cmdline_option options[] = {
	{ "socket-path", 's', "PATH",
		"Make a Unix socket at PATH and serve the virtual machine monitor that connects to it,\n"
		"one after the other. What a dead process left there is replaced. Needed, or --fd.",
		set_socket_path, NULL },
	{ "fd", 'f', "N", "Serve at the listening Unix socket that our parent left open as descriptor N.",
		set_fd, NULL },
	{ "vduse", 0, "NAME",
		"No virtual machine: attach the disk to this host's own kernel as /dev/vdX, by a VDUSE\n"
		"device called NAME. As root; needs the kernel's modules vduse and virtio-vdpa.",
		set_vduse, NULL },
	{ "read-only", 'r', NULL, "Offer a read-only disk and never change the export.", set_read_only,
		NULL },
	{ "num-queues", 'q', "N",
		"Virtqueues the disk may have. QEMU asks for one per virtual CPU unless told otherwise,\n"
		"and refuses a back-end that has fewer. Default: one per CPU here, at least 4.\n"
		"Up to 4 threads serve them.",
		set_num_queues, NULL },
	{ "connections", 'c', "N",
		"NBD connections per thread. Default: 1; more help where one TCP connection cannot fill\n"
		"the network. Only for exports that allow several connections, others get one in all.",
		set_connections, NULL },
	{ "serial", 'i', "TEXT", "The disk's serial number, up to 20 characters. Default: none.", set_serial,
		NULL },
	{ "print-capabilities", 0, NULL, "Tell management software what we can do, in JSON, and exit.",
		print_capabilities, NULL },
	{ "verbose", 'v', NULL, "Log what connections and virtual machines do, too.", set_verbose, NULL },
	{ 0 },
};

static const struct cmdline cmdline = {
	.program = "vnbd-client",
	.synopsis = "--socket-path=PATH [OPTION]... NBD-URI\n--fd=N [OPTION]... NBD-URI\n"
		    "--vduse=NAME [OPTION]... NBD-URI",
	.purpose =
		"Gives a virtual machine a disk that is an NBD export: a vhost-user-blk back-end. While the\n"
		"NBD server is away the machine waits; it never sees an I/O error for that.\n"
		"NBD-URI: nbd://HOST[:PORT]/EXPORT, nbds://... with TLS, nbd+unix:///EXPORT?socket=PATH, ...",
	.options = options,
	.word = take_uri,
	.epilogue = "Example: vnbd-client --socket-path=/run/vm1.sock nbd://storage1/vm1\n"
		    "The manual, vnbd-client(8), has the options for QEMU and libvirt.",
};

static unsigned default_queues(void)
{
	cpu_set_t cpus;
	unsigned count = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);

	if (count < BRIDGE_THREADS_MAX)
		return BRIDGE_THREADS_MAX;
	return count < VIRTIO_BLK_QUEUES_MAX ? count : VIRTIO_BLK_QUEUES_MAX;
}

static void check_settings(const struct settings *settings)
{
	int places = !!settings->socket_path + (settings->fd >= 0) + !!settings->vduse;

	if (places > 1)
		cmdline_fail(&cmdline, "--socket-path, --fd and --vduse exclude each other");
	if (places == 0)
		cmdline_fail(&cmdline, "where to serve? --socket-path, --fd or --vduse is missing");
	if (!settings->bridge.uri)
		cmdline_fail(&cmdline, "the NBD URI is missing");
}

/* -- running ------------------------------------------------------------------------------------------------------ */

/* Returns the descriptor, or -1 after telling why. */
static int open_socket(struct program *program, const struct settings *settings)
{
	char why[BRIDGE_WHY_SIZE];
	int fd = settings->fd;

	if (settings->socket_path) {
		fd = socket_listen(settings->socket_path, &program->socket, why, sizeof(why));
		if (fd < 0)
			log_error("%s: %s", settings->socket_path, why);
		return fd;
	}
	if (socket_adopt(fd, why, sizeof(why))) {
		log_error("descriptor %d: %s", fd, why);
		return -1;
	}
	return fd;
}

static void on_stopped(void *arg)
{
	struct program *program = arg;

	program->bridge = NULL;
	loop_stop(&program->loop);
}

/* Requests wait for a server that is away: the guest's VMM, or this host's kernel, keeps them, we need not. A signal, not
 * a timer of the loop: the loop may be waiting for a thread that waits for name service. */
static void on_deadline(int number)
{
	static const char text[] = "vnbd-client: warning: ended with requests in flight: the NBD server did "
				   "not answer them in time\n";

	(void)number;
	_exit(write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void end(struct program *program)
{
	ev_signal_stop(program->loop.ev, &program->on_term);
	ev_signal_stop(program->loop.ev, &program->on_int);
	ev_signal_stop(program->loop.ev, &program->on_hangup);
	socket_remove(&program->socket);
	signal(SIGALRM, on_deadline);
	alarm(program->stop_s);
	bridge_stop(program->bridge, on_stopped, program);
}

static void on_end_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	(void)ev;
	(void)revents;
	log_info("ending: %s", strsignal(watcher->signum));
	end(watcher->data);
}

/* The log says why. */
static void on_failed(void *arg)
{
	struct program *program = arg;

	program->failed = true;
	end(program);
}

static void on_hangup_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	struct program *program = watcher->data;

	(void)ev;
	(void)revents;
	bridge_look(program->bridge);
}

static void watch_signals(struct program *program)
{
	ev_signal_init(&program->on_term, on_end_signal, SIGTERM);
	ev_signal_init(&program->on_int, on_end_signal, SIGINT);
	ev_signal_init(&program->on_hangup, on_hangup_signal, SIGHUP);
	program->on_term.data = program->on_int.data = program->on_hangup.data = program;
	ev_signal_start(program->loop.ev, &program->on_term);
	ev_signal_start(program->loop.ev, &program->on_int);
	ev_signal_start(program->loop.ev, &program->on_hangup);
}

static void tell_ready(const struct settings *settings)
{
	if (settings->socket_path)
		log_info("listening on %s", settings->socket_path);
	else
		log_info("listening on descriptor %d", settings->fd);
}

/* Returns 0, or -1 after telling why it cannot. */
static int serve_kernel(struct program *program, const struct settings *settings)
{
	char why[BRIDGE_WHY_SIZE];

	if (bridge_attach(program->bridge, &program->loop, settings->vduse, on_failed, program, why)) {
		log_error("%s", why);
		return -1;
	}
	return 0;
}

static int serve_socket(struct program *program, const struct settings *settings)
{
	char why[BRIDGE_WHY_SIZE];
	int fd = open_socket(program, settings);

	if (fd < 0)
		return -1;
	if (bridge_serve(program->bridge, &program->loop, fd, why)) {
		log_error("%s", why);
		close(fd);
		socket_remove(&program->socket);
		return -1;
	}
	tell_ready(settings);
	return 0;
}

/* Serves until a signal. Returns -1 after telling why it cannot. */
static int serve(struct program *program, const struct settings *settings)
{
	program->stop_s = settings->vduse ? STOP_VDUSE_S : STOP_S;
	/* First, so that whoever ends us from now on finds the socket removed. */
	watch_signals(program);
	if (settings->vduse ? serve_kernel(program, settings) : serve_socket(program, settings))
		return -1;
	loop_run(&program->loop);
	alarm(0);
	return program->failed ? -1 : 0;
}

static int run(const struct settings *settings)
{
	static struct program program;
	char why[BRIDGE_WHY_SIZE];
	int error = loop_init(&program.loop, true);

	if (error) {
		log_error("cannot start: %s", strerror(-error));
		return EXIT_FAILURE;
	}
	if (bridge_new(&settings->bridge, &program.bridge, why)) {
		log_error("%s", why);
		error = -1;
	} else if (serve(&program, settings)) {
		if (program.bridge)
			bridge_free(program.bridge);
		error = -1;
	}
	loop_fini(&program.loop);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct settings settings = { .fd = -1,
		.bridge = { .connections = 1, .num_queues = default_queues() } };

	log_open(cmdline.program, LOG_INFO);
	cmdline_parse(&cmdline, argc, argv, &settings);
	check_settings(&settings);
	log_open(cmdline.program, settings.verbose ? LOG_DEBUG : LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	return run(&settings);
}
