/* server/main.c -- vnbd-server: what the command line says, and an exit status. */
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "conf/address.h"
#include "conf/cmdline.h"
#include "conf/log.h"
#include "server/limits.h"
#include "server/server.h"

#define LISTEN_DEFAULT "127.0.0.1:10809"

struct settings {
	const char **addresses; /* owned; as many as words of the command line at most */
	struct export_spec *exports;
	unsigned address_count, export_count;
	unsigned workers;
	bool verbose;
};

static int set_listen(void *settings, const char *value, char *why)
{
	struct settings *set = settings;

	if (!address_looks(value)) {
		snprintf(why, CMDLINE_WHY_SIZE, "not HOST:PORT, [IPv6]:PORT or unix:PATH");
		return -1;
	}
	set->addresses[set->address_count++] = value;
	return 0;
}

static int set_export(void *settings, const char *value, char *why)
{
	struct settings *set = settings;

	if (export_spec_parse(value, &set->exports[set->export_count], why, CMDLINE_WHY_SIZE))
		return -1;
	set->export_count++;
	return 0;
}

static int set_workers(void *settings, const char *value, char *why)
{
	return cmdline_number(value, 1, WORKERS_MAX, &((struct settings *)settings)->workers, why);
}

static int set_verbose(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->verbose = true;
	return 0;
}

static int take_file(void *settings, const char *word, char *why)
{
	struct settings *set = settings;

	for (unsigned i = 0; i < set->export_count; i++) {
		if (*set->exports[i].name)
			continue;
		snprintf(
			why, CMDLINE_WHY_SIZE, "there is a default export already: %s", set->exports[i].path);
		return -1;
	}
	if (export_spec_file(word, &set->exports[set->export_count])) {
		snprintf(why, CMDLINE_WHY_SIZE, "out of memory");
		return -1;
	}
	set->export_count++;
	return 0;
}

static const struct cmdline_option options[] = {
	{ "listen", 'l', "ADDRESS",
		"Listen on HOST:PORT, [IPv6]:PORT or unix:PATH; may be given several times, with\n"
		"several addresses each. Default: " LISTEN_DEFAULT ". There is no encryption: who can\n"
		"reach the address can read and write the exports.",
		set_listen, address_looks },
	{ "export", 'e', "NAME=PATH[,cache=MODE][,readonly][,description=TEXT]",
		"Export a file or block device under a name; may be given several times. MODE:\n"
		"writeback (default), writethrough, none, directsync; with unsafe, a power cut\n"
		"loses data that clients believe flushed. In PATH and TEXT a comma is written ',,'.\n"
		"A PATH of memory:SIZE (bytes, or K, M, G, T) is memory, lost when the server ends.",
		set_export, NULL },
	{ "workers", 'w', "N", "Threads that serve connections. Default: one for each CPU.", set_workers,
		NULL },
	{ "verbose", 'v', NULL, "Log connections, too.", set_verbose, NULL },
	{ 0 },
};

static const struct cmdline cmdline = {
	.program = "vnbd-server",
	.synopsis = "[OPTION]... [FILE]\n[OPTION]... --export NAME=PATH[,KEY...]...",
	.purpose = "Export files and block devices over NBD. FILE, a file or block device, is the default\n"
		   "export, with the empty name.",
	.options = options,
	.word = take_file,
	.epilogue = "Example: vnbd-server --listen unix:/run/vnbd.sock --export vm1=/dev/vg/vm1,cache=none\n"
		    "The manual, vnbd-server(8), tells what each cache mode keeps safe.",
};

static unsigned cpu_count(void)
{
	cpu_set_t cpus;
	unsigned count = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);

	return count < WORKERS_MAX ? count : WORKERS_MAX;
}

static void prepare_process(void)
{
	struct rlimit files;

	signal(SIGPIPE, SIG_IGN);
	/* Large buffers go back to the system when they are freed, whatever sizes came before. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* Returns 0, or -1 with @why. */
static int serve(struct server *server, const struct settings *settings, char *why, size_t why_size)
{
	for (unsigned i = 0; i < settings->export_count; i++)
		if (exports_add(&server->exports, &settings->exports[i], why, why_size))
			return -1;
	for (unsigned i = 0; i < settings->address_count; i++)
		if (server_listen(server, settings->addresses[i], why, why_size))
			return -1;
	return server_run(server, settings->workers, why, why_size);
}

static int run(const struct settings *settings)
{
	struct server server;
	char why[CMDLINE_WHY_SIZE];
	int error = server_init(&server);

	if (error) {
		log_error("cannot start: %s", strerror(-error));
		return EXIT_FAILURE;
	}
	error = serve(&server, settings, why, sizeof(why));
	if (error)
		log_error("%s", why);
	server_fini(&server);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void settings_init(struct settings *settings, int argc)
{
	*settings = (struct settings){
		.addresses = calloc((size_t)argc + 1, sizeof(settings->addresses[0])),
		.exports = calloc((size_t)argc + 1, sizeof(settings->exports[0])),
		.workers = cpu_count(),
	};
	if (!settings->addresses || !settings->exports) {
		log_error("out of memory");
		exit(EXIT_FAILURE);
	}
}

static void settings_fini(struct settings *settings)
{
	for (unsigned i = 0; i < settings->export_count; i++)
		export_spec_fini(&settings->exports[i]);
	free(settings->exports);
	free(settings->addresses);
}

int main(int argc, char **argv)
{
	struct settings settings;
	int status;

	log_open(cmdline.program, LOG_INFO);
	settings_init(&settings, argc);
	cmdline_parse(&cmdline, argc, argv, &settings);
	if (settings.export_count == 0)
		cmdline_fail(&cmdline, "nothing to export: give a FILE or --export");
	if (settings.address_count == 0)
		settings.addresses[settings.address_count++] = LISTEN_DEFAULT;
	if (settings.verbose)
		log_open(cmdline.program, LOG_DEBUG);
	prepare_process();
	status = run(&settings);
	settings_fini(&settings);
	return status;
}
