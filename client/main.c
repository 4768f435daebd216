/* client/main.c -- vnbd-client: the command line, signals, which devices there are, and an exit status. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/device.h"
#include "client/device_list.h"
#include "conf/log.h"

/* What is in flight when we are told to end gets so long to come to an end; a server that is away gets no more. */
#define STOP_S 2u

/* As long as all that takes where the kernel has to remove a disk first, which waits for much in the kernel. */
#define STOP_VDUSE_S 10u

/* Of the file as it is, and some that are ending while others take their place. */
#define PROGRAM_DEVICES_MAX (2 * DEVICES_MAX)

struct settings {
	struct device_config device; /* first: device_options set it */
	const char *file;	     /* NULL: there is one device, the one above */
	bool verbose;
};

struct program {
	struct loop loop;
	ev_signal on_term, on_int, on_hangup;
	const char *file;	    /* borrowed: of the command line; NULL: none */
	struct device_list *wanted; /* owned */
	struct device *devices[PROGRAM_DEVICES_MAX];
	unsigned device_count;
	bool ending;
	int status;
};

/* -- the command line --------------------------------------------------------------------------------------------- */

static int set_fd(void *settings, const char *value, char *why)
{
	unsigned fd;

	if (cmdline_number(value, 0, 1 << 20, &fd, why))
		return -1;
	((struct settings *)settings)->device.fd = (int)fd;
	return 0;
}

static int set_config(void *settings, const char *value, char *why)
{
	(void)why;
	((struct settings *)settings)->file = value;
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

static const struct cmdline_option program_options[] = {
	{ "fd", 'f', "N", "Serve at the listening Unix socket that our parent left open as descriptor N.",
		set_fd, NULL },
	{ "config", 0, "FILE",
		"Serve the devices that FILE describes, one a section. SIGHUP: read it again. Excludes\n"
		"the options above and NBD-URI.",
		set_config, NULL },
	{ "print-capabilities", 0, NULL, "Tell management software what we can do, in JSON, and exit.",
		print_capabilities, NULL },
	{ "verbose", 'v', NULL, "Log what connections and virtual machines do, too.", set_verbose, NULL },
	{ 0 },
};

static struct cmdline_option options[CMDLINE_OPTIONS_MAX];

static const struct cmdline cmdline = {
	.program = "vnbd-client",
	.synopsis = "--socket-path=PATH [OPTION]... NBD-URI\n--fd=N [OPTION]... NBD-URI\n"
		    "--vduse=NAME [OPTION]... NBD-URI\n--config=FILE",
	.purpose =
		"Gives a virtual machine a disk that is an NBD export: a vhost-user-blk back-end. While the\n"
		"NBD server is away the machine waits; it never sees an I/O error for that.\n"
		"NBD-URI: nbd://HOST[:PORT]/EXPORT, nbds://... with TLS, nbd+unix:///EXPORT?socket=PATH, ...",
	.options = options,
	.word = device_config_take_uri,
	.epilogue = "Example: vnbd-client --socket-path=/run/vm1.sock nbd://storage1/vm1\n"
		    "The manual, vnbd-client(8), has the file, and the options for QEMU and libvirt.",
};

static void join_options(void)
{
	struct cmdline_option *to = options;

	for (const struct cmdline_option *row = device_options; row->name; row++)
		*to++ = *row;
	for (const struct cmdline_option *row = program_options; row->name; row++)
		*to++ = *row;
}

static void check_settings(const struct settings *settings)
{
	const struct device_config *device = &settings->device;

	if (settings->file) {
		if (device_config_is_told(device))
			cmdline_fail(&cmdline, "with --config, devices are described in the file alone");
		return;
	}
	if (device_config_places(device) > 1)
		cmdline_fail(&cmdline, "--socket-path, --fd and --vduse exclude each other");
	if (device_config_places(device) == 0)
		cmdline_fail(&cmdline, "where to serve? --socket-path, --fd or --vduse is missing");
	if (!device->uri)
		cmdline_fail(&cmdline, "the NBD URI is missing");
}

/* -- devices ------------------------------------------------------------------------------------------------------ */

static const char *name_of(const struct device *device)
{
	const char *name = device_config_of(device)->name;

	return name ? name : "the device";
}

static void end_if_done(struct program *program)
{
	bool busy = false;

	for (unsigned i = 0; i < program->device_count; i++)
		busy |= device_is_serving(program->devices[i]);
	/* One that does not serve yet has nothing that would have to be put in order. */
	if (program->ending && !busy)
		loop_stop(&program->loop);
}

static void apply(struct program *program);

static void on_ended(struct device *device, void *arg)
{
	struct program *program = arg;
	unsigned i = 0;

	while (program->devices[i] != device)
		i++;
	program->devices[i] = program->devices[--program->device_count];
	if (device_has_failed(device)) {
		program->status = EXIT_FAILURE;
		program->ending = true;
	}
	if (program->file && !program->ending)
		log_info("%s: ended", name_of(device));
	device_free(device);
	if (program->ending)
		end_if_done(program);
	else
		apply(program);
}

/* NULL: there is none of that name. */
static struct device *find_device(const struct program *program, const struct device_config *config)
{
	for (unsigned i = 0; i < program->device_count; i++) {
		const char *name = device_config_of(program->devices[i])->name;

		if (!config->name || strcmp(config->name, name) == 0)
			return program->devices[i];
	}
	return NULL;
}

static void add_device(struct program *program, const struct device_config *config)
{
	const struct device_owner owner = { &program->loop, on_ended, program };
	int error = -ENOSPC;

	if (program->device_count < PROGRAM_DEVICES_MAX)
		error = device_new(config, program->file, &owner, &program->devices[program->device_count]);
	if (!error) {
		program->device_count++;
		return;
	}
	log_error("%s%scannot begin: %s", config->name ? config->name : "", config->name ? ": " : "",
		strerror(-error));
	if (!program->file)
		program->status = EXIT_FAILURE;
}

/* Whatever is wanted and is not there begins; one of a name that is ending still, when it has ended. */
static void apply(struct program *program)
{
	for (unsigned i = 0; i < program->wanted->count; i++)
		if (!find_device(program, &program->wanted->devices[i]))
			add_device(program, &program->wanted->devices[i]);
}

/* -- reading the file again --------------------------------------------------------------------------------------- */

static void review(struct device *device, const struct device_list *list)
{
	const struct device_config *config = device_list_find(list, device_config_of(device)->name);

	if (device_is_stopping(device))
		return;
	if (!config) {
		log_info("%s: no longer in the file: ending", name_of(device));
		device_stop(device);
	} else if (!device_config_same(config, device_config_of(device))) {
		log_warning("%s: changed in the file; it stays as it was, for its virtual machine's sake, "
			    "until it is taken out of the file and put in again",
			name_of(device));
	}
}

static void read_again(struct program *program)
{
	char why[INI_WHY_SIZE];
	struct device_list *list = device_list_read(program->file, why);

	if (!list) {
		log_error("%s", why);
		log_error("nothing is changed");
		return;
	}
	for (unsigned i = 0; i < program->device_count; i++)
		review(program->devices[i], list);
	device_list_free(program->wanted);
	program->wanted = list;
	apply(program);
	log_info("%s: read again, %u devices", program->file, list->count);
}

/* -- signals ------------------------------------------------------------------------------------------------------ */

/* Requests wait for a server that is away: the guest's VMM, or this host's kernel, keeps them, we need not. A signal, not
 * a timer of the loop: the loop may be waiting for a thread that waits for name service. */
static void on_deadline(int number)
{
	static const char text[] = "vnbd-client: warning: ended with requests in flight: the NBD server did "
				   "not answer them in time\n";

	(void)number;
	_exit(write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static unsigned stop_s(const struct program *program)
{
	for (unsigned i = 0; i < program->device_count; i++)
		if (device_config_of(program->devices[i])->vduse)
			return STOP_VDUSE_S;
	return STOP_S;
}

static void on_end_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	struct program *program = watcher->data;

	(void)revents;
	log_info("ending: %s", strsignal(watcher->signum));
	ev_signal_stop(ev, &program->on_term);
	ev_signal_stop(ev, &program->on_int);
	program->ending = true;
	signal(SIGALRM, on_deadline);
	alarm(stop_s(program));
	for (unsigned i = 0; i < program->device_count; i++)
		device_stop(program->devices[i]);
	end_if_done(program);
}

static void on_hangup_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
	struct program *program = watcher->data;

	(void)ev;
	(void)revents;
	if (program->ending)
		return;
	if (program->file)
		read_again(program);
	for (unsigned i = 0; i < program->device_count; i++)
		device_look(program->devices[i]);
}

static void watch_signal(struct program *program, ev_signal *watcher)
{
	watcher->data = program;
	ev_signal_start(program->loop.ev, watcher);
}

static void watch_signals(struct program *program)
{
	ev_signal_init(&program->on_term, on_end_signal, SIGTERM);
	ev_signal_init(&program->on_int, on_end_signal, SIGINT);
	ev_signal_init(&program->on_hangup, on_hangup_signal, SIGHUP);
	watch_signal(program, &program->on_term);
	watch_signal(program, &program->on_int);
	watch_signal(program, &program->on_hangup);
}

/* -- running ------------------------------------------------------------------------------------------------------ */

/* A queue may have three descriptors, a machine hundreds of queues: the usual 1024 are for programs that use select(2). */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static struct device_list *list_of(const struct settings *settings)
{
	char why[INI_WHY_SIZE] = "out of memory";
	struct device_list *list;

	if (settings->file) {
		list = device_list_read(settings->file, why);
	} else {
		list = calloc(1, sizeof(*list));
		if (list)
			list->devices[list->count++] = settings->device;
	}
	if (!list)
		log_error("%s", why);
	return list;
}

static void serve(struct program *program)
{
	watch_signals(program);
	apply(program);
	if (program->status == EXIT_SUCCESS)
		loop_run(&program->loop);
	alarm(0);
}

static int run(const struct settings *settings)
{
	static struct program program;
	int error;

	program.file = settings->file;
	program.wanted = list_of(settings);
	if (!program.wanted)
		return EXIT_FAILURE;
	error = loop_init(&program.loop, true);
	if (error) {
		log_error("cannot start: %s", strerror(-error));
		device_list_free(program.wanted);
		return EXIT_FAILURE;
	}
	serve(&program);
	/* Devices that were still about to begin have threads that use what is here: it goes with the process. */
	if (program.device_count == 0) {
		loop_fini(&program.loop);
		device_list_free(program.wanted);
	}
	return program.status;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };

	device_config_init(&settings.device);
	join_options();
	log_open(cmdline.program, LOG_INFO);
	cmdline_parse(&cmdline, argc, argv, &settings);
	check_settings(&settings);
	log_open(cmdline.program, settings.verbose ? LOG_DEBUG : LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	raise_descriptor_limit();
	return run(&settings);
}
