/* server/main.c -- vnbd-server: what the command line says, and an exit status. */
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "conf/address.h"
#include "conf/cmdline.h"
#include "conf/log.h"
#include "conf/size.h"
#include "server/config.h"
#include "server/fault_rule.h"
#include "server/limits.h"
#include "server/server.h"

#define LISTEN_DEFAULT "127.0.0.1:10809"

struct settings {
	const char **addresses;	     /* owned; each is of the command line or the file */
	const char **faults;	     /* likewise */
	struct export_spec *exports; /* owned, as is each */
	struct config config;
	unsigned address_count, export_count, fault_count;
	unsigned workers;	     /* 0: not given */
	struct server_limits limits; /* 0: not given */
	struct tls_settings tls;
	const char *control; /* NULL: none */
	bool tls_given;
	bool single;
	bool verbose;
};

/* Room for one more than @count, in an array that doubles; NULL: out of memory. */
static void *grow(void *array, unsigned count, size_t size, char *why)
{
	if ((count & (count - 1)) == 0)
		array = reallocarray(array, count > 0 ? 2 * (size_t)count : 1, size);
	if (!array)
		snprintf(why, CMDLINE_WHY_SIZE, "out of memory");
	return array;
}

static int set_listen(void *settings, const char *value, char *why)
{
	struct settings *set = settings;
	const char **more;

	if (!address_looks(value)) {
		snprintf(why, CMDLINE_WHY_SIZE, "not " ADDRESS_FORMS);
		return -1;
	}
	more = grow(set->addresses, set->address_count, sizeof(more[0]), why);
	if (!more)
		return -1;
	set->addresses = more;
	set->addresses[set->address_count++] = value;
	return 0;
}

static int set_single(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->single = true;
	return 0;
}

/* Takes @spec over. */
static int add_export(void *settings, struct export_spec *spec, char *why)
{
	struct settings *set = settings;
	struct export_spec *more = grow(set->exports, set->export_count, sizeof(*more), why);

	if (!more) {
		export_spec_fini(spec);
		return -1;
	}
	set->exports = more;
	set->exports[set->export_count++] = *spec;
	return 0;
}

static int set_export(void *settings, const char *value, char *why)
{
	struct export_spec spec;

	return export_spec_parse(value, &spec, why, CMDLINE_WHY_SIZE) ? -1 : add_export(settings, &spec, why);
}

static int set_tls(void *settings, const char *value, char *why)
{
	static const char *const names[] = { [TLS_OFF] = "off", [TLS_ON] = "on", [TLS_REQUIRE] = "require" };
	struct settings *set = settings;

	for (int mode = TLS_OFF; mode <= TLS_REQUIRE; mode++) {
		if (strcmp(value, names[mode]) != 0)
			continue;
		set->tls.mode = (enum tls_mode)mode;
		set->tls_given = true;
		return 0;
	}
	snprintf(why, CMDLINE_WHY_SIZE, "not off, on or require");
	return -1;
}

static int set_tls_certificates(void *settings, const char *value, char *why)
{
	(void)why;
	((struct settings *)settings)->tls.certificates = value;
	return 0;
}

static int set_tls_psk(void *settings, const char *value, char *why)
{
	(void)why;
	((struct settings *)settings)->tls.psk = value;
	return 0;
}

static int set_tls_verify_peer(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct settings *)settings)->tls.verify_peer = true;
	return 0;
}

static int set_tls_kernel(void *settings, const char *value, char *why)
{
	bool off = strcmp(value, "off") == 0;

	((struct settings *)settings)->tls.no_kernel = off;
	if (off || strcmp(value, "auto") == 0)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "not auto or off");
	return -1;
}

static int set_export_dir(void *settings, const char *value, char *why)
{
	struct export_spec spec;

	return export_spec_parse_folder(value, &spec, why, CMDLINE_WHY_SIZE)
		       ? -1
		       : add_export(settings, &spec, why);
}

static int set_fault(void *settings, const char *value, char *why)
{
	struct settings *set = settings;
	struct fault_rule rule;
	const char **more;

	if (fault_rule_parse(value, FAULT_ON_CLIENTS, &rule, why, CMDLINE_WHY_SIZE))
		return -1;
	fault_rule_fini(&rule);
	more = grow(set->faults, set->fault_count, sizeof(more[0]), why);
	if (!more)
		return -1;
	set->faults = more;
	set->faults[set->fault_count++] = value;
	return 0;
}

static int set_workers(void *settings, const char *value, char *why)
{
	return cmdline_number(value, 1, WORKERS_MAX, &((struct settings *)settings)->workers, why);
}

static int set_connections(void *settings, const char *value, char *why)
{
	return cmdline_number(
		value, 1, CONNECTIONS_MOST, &((struct settings *)settings)->limits.connections, why);
}

static int set_connections_per_address(void *settings, const char *value, char *why)
{
	return cmdline_number(value, 1, CONNECTIONS_MOST,
		&((struct settings *)settings)->limits.connections_per_address, why);
}

static int set_handshake_timeout(void *settings, const char *value, char *why)
{
	return cmdline_number(
		value, 1, HANDSHAKE_DEADLINE_MOST_S, &((struct settings *)settings)->limits.handshake_s, why);
}

static int set_memory(void *settings, const char *value, char *why)
{
	uint64_t *bytes = &((struct settings *)settings)->limits.memory_bytes;

	if (size_parse(value, bytes) == 0 && *bytes >= MEMORY_LEAST && *bytes <= SIZE_MAX / 2)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "not a size from %u MiB on, such as 512M", MEMORY_LEAST >> 20);
	return -1;
}

static int set_control(void *settings, const char *value, char *why)
{
	if (strncmp(value, "unix:", 5) != 0) {
		snprintf(why, CMDLINE_WHY_SIZE, "not unix:PATH");
		return -1;
	}
	((struct settings *)settings)->control = value;
	return 0;
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
	struct export_spec spec;

	for (unsigned i = 0; i < set->export_count; i++) {
		if (set->exports[i].is_folder || *set->exports[i].name)
			continue;
		snprintf(
			why, CMDLINE_WHY_SIZE, "there is a default export already: %s", set->exports[i].path);
		return -1;
	}
	if (export_spec_file(word, &spec)) {
		snprintf(why, CMDLINE_WHY_SIZE, "out of memory");
		return -1;
	}
	return add_export(set, &spec, why);
}

static int set_config(void *settings, const char *value, char *why);

static const struct cmdline_option options[] = {
	{ "config", 0, "FILE",
		"What FILE says, in nbd-server's dialect, as if it stood here: [generic] with options, and "
		"a\n"
		"section an export; vnbd.conf(5).",
		set_config, NULL },
	{ "listen", 'l', "ADDRESS",
		"Listen on " ADDRESS_FORMS "; may be given several times,\n"
		"with several addresses each. Default: " LISTEN_DEFAULT ". Without TLS, who can reach the\n"
		"address can read and write the exports. Sockets that systemd hands over are listened\n"
		"on as well, and replace the default.",
		set_listen, address_looks },
	{ "single", 's', NULL,
		"Serve the one connection that is standard input, and end with it, as inetd and clients\n"
		"that run their own server want it; only warnings are logged. Default: listen.",
		set_single, NULL },
	{ "export", 'e', "NAME=PATH[,KEY[=VALUE]]...",
		"Export a file or block device under a name; may be given several times. Keys:\n"
		"cache=writeback (default), writethrough, none, directsync; with unsafe, a power cut\n"
		"loses data that clients believe flushed. readonly. overlay=FILE: PATH is only read, what\n"
		"is written is in FILE; or lost when the server ends, with overlay=temporary.\n"
		"volatile=on (or a SIZE): completed writes stay in a simulated disk cache until they are\n"
		"flushed, for power cuts to lose: for tests.\n"
		"record=FILE: every request is written there, for vnbd-replay(8).\n"
		"description=TEXT. tls: not without TLS.\n"
		"allow-address=RANGE, allow-cert=NAME, allow-subject=DN, allow-psk=USER: for nobody else to\n"
		"see; each may be given several times. fault=RULE: let requests fail, such as\n"
		"'write every 3: error EIO', vnbd-fault(7); may be given several times.\n"
		"In PATH and values a comma is written ',,'.\n"
		"A PATH of memory:SIZE (bytes, or K, M, G, T) is memory, lost when the server ends.",
		set_export, NULL },
	{ "export-dir", 'd', "PATH[,KEY[=VALUE]]...",
		"Each file and block device in the directory is an export, with its name, unless that "
		"begins\n"
		"with a dot; opened when a client chooses it. The keys are those of --export.",
		set_export_dir, NULL },
	{ "fault", 0, "RULE",
		"Let connections fail that have no export yet, such as 'accept every 3: close'; may be "
		"given\n"
		"several times. vnbd-fault(7) has the rules, those of --export and these.",
		set_fault, NULL },
	{ "tls", 0, "MODE",
		"off: none. on: clients may ask for it. require: nothing is said before it. Default: "
		"require\n"
		"where certificates or keys are given, or else off.",
		set_tls, NULL },
	{ "tls-certificates", 0, "DIR",
		"Has the server's certificate and key, server-cert.pem and server-key.pem. SIGHUP loads\n"
		"them, and what the next options name, again.",
		set_tls_certificates, NULL },
	{ "tls-verify-peer", 0, NULL,
		"Only clients with a certificate that one in DIR's ca-cert.pem has signed (and ca-crl.pem, "
		"if\n"
		"it exists, does not revoke), or with a pre-shared key. Default: any client.",
		set_tls_verify_peer, NULL },
	{ "tls-psk", 0, "FILE", "Pre-shared keys: a line USER:HEXKEY each, as psktool(1) makes them.",
		set_tls_psk, NULL },
	{ "tls-kernel", 0, "MODE",
		"auto (default): the kernel encrypts, where it can; the log tells. off: GnuTLS does.",
		set_tls_kernel, NULL },
	{ "workers", 'w', "N", "Threads that serve connections. Default: one for each CPU.", set_workers,
		NULL },
	{ "connections", 0, "N", "Connections at a time. Default: 1024; one more is closed at once.",
		set_connections, NULL },
	{ "connections-per-address", 0, "N",
		"Connections from one IPv4 address, IPv6 /64 network, local user or virtual machine.\n"
		"Default: half of --connections.",
		set_connections_per_address, NULL },
	{ "handshake-timeout", 0, "SECONDS", "Time a client has to choose an export. Default: 30.",
		set_handshake_timeout, NULL },
	{ "memory", 0, "SIZE",
		"For the data of large requests in flight, all connections together, in bytes, or with K,\n"
		"M or G. Default: 512M; those that want more wait for their turn.",
		set_memory, NULL },
	{ "control", 0, "unix:PATH",
		"Let vnbdctl(8) ask and steer the server by a Unix socket that only this user can open.\n"
		"Default: none.",
		set_control, NULL },
	{ "verbose", 'v', NULL, "Log connections, too.", set_verbose, NULL },
	{ 0 },
};

static int set_config(void *settings, const char *value, char *why)
{
	struct settings *set = settings;
	const struct config_taker taker = { options, settings, add_export };
	char flaw[INI_WHY_SIZE];

	if (set->config.text) {
		snprintf(why, CMDLINE_WHY_SIZE, "there is a file already");
		return -1;
	}
	if (config_read(value, &taker, &set->config, flaw) == 0)
		return 0;
	log_error("%s", flaw);
	exit(CMDLINE_USAGE_EXIT);
}

static const struct cmdline cmdline = {
	.program = "vnbd-server",
	.synopsis =
		"[OPTION]... [FILE]\n[OPTION]... --export NAME=PATH[,KEY...]...\n[OPTION]... --config FILE",
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

static void allow_descriptors(rlim_t wanted)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur < wanted)
		log_warning("connections are limited by the %ju descriptors that this process may have",
			(uintmax_t)files.rlim_cur);
}

static void prepare_process(const struct settings *settings)
{

	signal(SIGPIPE, SIG_IGN);
	/* A file may not be made longer than the operator's limit: an error like others. */
	signal(SIGXFSZ, SIG_IGN);
	/* Large buffers go back to the system when they are freed, whatever sizes came before. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	allow_descriptors((rlim_t)settings->limits.connections + DESCRIPTORS_SPARE);
}

/* Returns 0, or -1 with @why. */
static int take_connection(struct server *server, struct inherited *inherited, char *why, size_t why_size)
{
	int fd = inherited_connection(inherited, why, why_size);

	if (fd < 0)
		return -1;
	server_serve_one(server, fd);
	return 0;
}

/* Returns 0, or -1 with @why. */
static int listen_everywhere(struct server *server, const struct settings *settings,
	struct inherited *inherited, char *why, size_t why_size)
{
	unsigned count = settings->address_count + inherited->count;

	if (server_adopt(server, inherited, why, why_size))
		return -1;
	for (unsigned i = 0; i < settings->address_count; i++)
		if (server_listen(server, settings->addresses[i], why, why_size))
			return -1;
	return count > 0 ? 0 : server_listen(server, LISTEN_DEFAULT, why, why_size);
}

/* Returns 0, or -1 with @why. */
static int serve(struct server *server, const struct settings *settings, struct inherited *inherited,
	char *why, size_t why_size)
{
	int error;

	for (unsigned i = 0; i < settings->export_count; i++)
		if (exports_add(&server->exports, &settings->exports[i], why, why_size))
			return -1;
	for (unsigned i = 0; i < settings->fault_count; i++)
		if (fault_set_add(&server->faults, settings->faults[i], why, why_size) < 0)
			return -1;
	if (server_secure(server, &settings->tls, why, why_size))
		return -1;
	if (settings->control && server_control(server, settings->control, why, why_size))
		return -1;
	error = settings->single ? take_connection(server, inherited, why, why_size)
				 : listen_everywhere(server, settings, inherited, why, why_size);
	if (error)
		return -1;
	return server_run(server, settings->workers, why, why_size);
}

static int run(const struct settings *settings)
{
	struct server server;
	struct inherited inherited;
	char why[CMDLINE_WHY_SIZE];
	int error;

	if (inherited_take(&inherited, why, sizeof(why))) {
		log_error("%s", why);
		return EXIT_FAILURE;
	}
	error = server_init(&server, &settings->limits);

	if (error) {
		log_error("cannot start: %s", strerror(-error));
		return EXIT_FAILURE;
	}
	error = serve(&server, settings, &inherited, why, sizeof(why));
	if (error)
		log_error("%s", why);
	server_fini(&server);
	inherited_close(&inherited);
	return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void settings_fini(struct settings *settings)
{
	for (unsigned i = 0; i < settings->export_count; i++)
		export_spec_fini(&settings->exports[i]);
	free(settings->exports);
	free(settings->addresses);
	free(settings->faults);
	config_fini(&settings->config);
}

static void settle_tls(struct settings *settings)
{
	struct tls_settings *tls = &settings->tls;
	bool given = tls->certificates || tls->psk;

	if (tls->verify_peer && !tls->certificates)
		cmdline_fail(&cmdline, "--tls-verify-peer needs --tls-certificates");
	if (!settings->tls_given && given)
		tls->mode = TLS_REQUIRE;
	if (tls->mode != TLS_OFF && !given)
		cmdline_fail(&cmdline, "TLS needs --tls-certificates or --tls-psk");
}

/* With --single, standard error is often that of a client. */
static enum log_level chattiness(const struct settings *settings)
{
	if (settings->verbose)
		return LOG_DEBUG;
	return settings->single ? LOG_WARNING : LOG_INFO;
}

static void settle_limits(struct server_limits *limits)
{
	if (limits->connections == 0)
		limits->connections = CONNECTIONS_DEFAULT;
	if (limits->connections_per_address == 0)
		limits->connections_per_address = (limits->connections + CONNECTIONS_PER_ADDRESS_PART - 1) /
						  CONNECTIONS_PER_ADDRESS_PART;
	if (limits->memory_bytes == 0)
		limits->memory_bytes = MEMORY_DEFAULT;
	if (limits->handshake_s == 0)
		limits->handshake_s = HANDSHAKE_DEADLINE_S;
}

int main(int argc, char **argv)
{
	struct settings settings = { 0 };
	int status;

	log_open(cmdline.program, LOG_INFO);
	cmdline_parse(&cmdline, argc, argv, &settings);
	if (settings.export_count == 0)
		cmdline_fail(&cmdline, "nothing to export: give a FILE, --export, --export-dir or --config");
	settle_tls(&settings);
	if (settings.single && settings.address_count > 0)
		cmdline_fail(&cmdline, "--single serves one connection, and --listen waits for others");
	if (settings.single && settings.control)
		cmdline_fail(&cmdline, "--single ends with its connection, and has no --control");
	settle_limits(&settings.limits);
	if (settings.workers == 0)
		settings.workers = settings.single ? 1 : cpu_count();
	log_open(cmdline.program, chattiness(&settings));
	prepare_process(&settings);
	status = run(&settings);
	settings_fini(&settings);
	return status;
}
