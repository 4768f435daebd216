/* A configuration file of the server means what it says, in nbd-server's dialect as well; what it cannot mean here is refused
 * with line, section, key and reason.  If this fails, a disk is served otherwise than its file says, or an operator guesses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

static char told[1024]; /* "KEY=VALUE;" for each option that was set */
static struct export_spec specs[8];
static unsigned spec_count;
static struct config config;
static char why[INI_WHY_SIZE];

static int tell(const char *key, const char *value)
{
	size_t used = strlen(told);

	snprintf(told + used, sizeof(told) - used, "%s=%s;", key, value ? value : "");
	return 0;
}

static int set_listen(void *settings, const char *value, char *reason)
{
	assert_ptr_equal(settings, told);
	if (strchr(value, '!')) {
		snprintf(reason, CMDLINE_WHY_SIZE, "no address");
		return -1;
	}
	return tell("listen", value);
}

static int set_workers(void *settings, const char *value, char *reason)
{
	unsigned workers;

	(void)settings;
	return cmdline_number(value, 1, 9, &workers, reason) ? -1 : tell("workers", value);
}

static int set_verbose(void *settings, const char *value, char *reason)
{
	(void)settings;
	(void)reason;
	return tell("verbose", value);
}

static int set_tls(void *settings, const char *value, char *reason)
{
	(void)settings;
	(void)reason;
	return tell("tls", value);
}

static const struct cmdline_option options[] = {
	{ "config", 0, "FILE", "", set_tls, NULL },
	{ "export", 0, "EXPORT", "", set_tls, NULL },
	{ "single", 0, NULL, "", set_verbose, NULL },
	{ "listen", 0, "ADDRESS", "", set_listen, NULL },
	{ "workers", 0, "N", "", set_workers, NULL },
	{ "verbose", 0, NULL, "", set_verbose, NULL },
	{ "tls", 0, "MODE", "", set_tls, NULL },
	{ 0 },
};

static int add_export(void *settings, struct export_spec *spec, char *reason)
{
	(void)reason;
	assert_ptr_equal(settings, told);
	assert_true(spec_count < 8);
	specs[spec_count++] = *spec;
	return 0;
}

static int forget(void **state)
{
	(void)state;
	while (spec_count > 0)
		export_spec_fini(&specs[--spec_count]);
	config_fini(&config);
	told[0] = why[0] = '\0';
	return 0;
}

/* The text goes into memory of its very size, so that a sanitizer sees a step past its end. */
static int parse(const char *text)
{
	const struct config_taker taker = { options, told, add_export };

	forget(NULL);
	config.text = malloc(strlen(text) + 1);
	assert_non_null(config.text);
	memcpy(config.text, text, strlen(text) + 1);
	return config_parse("f", config.text, strlen(text), &taker, &config, why);
}

static void options_and_exports_arrive(void **state)
{
	(void)state;
	assert_int_equal(parse("# all of it\n"
			       "[generic]\n"
			       "listen = [::1]:1\n"
			       "listen = unix:/run/a b\n"
			       "workers = 3\n"
			       "verbose = true\n"
			       "[vm 1]\n"
			       "cache = none\n"
			       "path = /srv/a,b\n"
			       "description = one, two\n"
			       "allow-address = 10.0.0.0/8\n"
			       "allow-address = unix\n"
			       "tls = true\n"
			       "readonly = false\n"
			       "[]\n"
			       "path = memory:1M\n"
			       "[all]\n"
			       "directory = /srv/all\n"
			       "readonly = true\n"),
		0);
	assert_string_equal(told, "listen=[::1]:1;listen=unix:/run/a b;workers=3;verbose=;");
	assert_int_equal(spec_count, 3);
	assert_string_equal(specs[0].name, "vm 1");
	assert_string_equal(specs[0].path, "/srv/a,b");
	assert_string_equal(specs[0].description, "one, two");
	assert_int_equal(specs[0].mode, CACHE_none);
	assert_true(specs[0].access.tls && specs[0].access.rules);
	assert_false(specs[0].readonly || specs[0].is_folder);
	assert_string_equal(specs[1].name, "");
	assert_int_equal(specs[1].memory_size, 1 << 20);
	assert_string_equal(specs[2].path, "/srv/all");
	assert_string_equal(specs[2].name, "");
	assert_true(specs[2].readonly && specs[2].is_folder);
}

static void nbd_servers_keys_mean_the_same(void **state)
{
	(void)state;
	assert_int_equal(parse("[generic]\n"
			       "listenaddr = ::1, 127.0.0.1\n"
			       "port = 10810\n"
			       "unixsock = /run/n\n"
			       "duallisten = true\n"
			       "allowlist = true\n"
			       "force_tls = true\n"
			       "oldstyle = false\n"
			       "[e]\n"
			       "exportname = /srv/e\n"
			       "readonly = true\n"
			       "flush = true\n"
			       "fua = true\n"
			       "trim = true\n"
			       "sync = true\n"
			       "force_tls = true\n"
			       "copyonwrite = false\n"
			       "[p]\n"
			       "virtstyle = none\n"
			       "exportname = /srv/%s\n"
			       "sync = false\n"
			       "tlsonly = false\n"),
		0);
	assert_string_equal(
		told, "tls=require;listen=[::1]:10810;listen=127.0.0.1:10810;listen=unix:/run/n;");
	assert_true(specs[0].readonly && specs[0].access.tls);
	assert_int_equal(specs[0].mode, CACHE_writethrough);
	assert_string_equal(specs[1].path, "/srv/%s");
	assert_int_equal(specs[1].mode, CACHE_writeback);
	assert_false(specs[1].access.tls);
	assert_int_equal(parse("[generic]\nlistenaddr = 10.0.0.1\n"), 0);
	assert_string_equal(told, "listen=10.0.0.1:10809;");
	assert_int_equal(parse("[generic]\nunixsock = /n\n"), 0);
	assert_string_equal(told, "listen=unix:/n;");
}

static void mistakes_are_refused_where_they_are(void **state)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "[generic]\nworkers = 10\n", "f:2: generic: workers: not a number from 1 to 9" },
		{ "[generic]\nworkers = 1\nworkers = 1\n", "f:3: generic: workers: told twice" },
		{ "[generic]\nverbose = yes\n", "f:2: generic: verbose: neither 'true' nor 'false'" },
		{ "[generic]\nlisten =\n", "f:2: generic: listen: the value is missing" },
		{ "[generic]\npath = /x\n", "f:2: generic: path: no such key is known" },
		{ "[generic]\nconfig = /x\n", "f:2: generic: config: no such key is known" },
		{ "[generic]\nexport = a=/x\n", "f:2: generic: export: no such key is known" },
		{ "[generic]\nsingle = true\n", "f:2: generic: single: no such key is known" },
		{ "[generic]\n[generic]\n", "f:2: generic: there is a section of that name already" },
		{ "[generic]\nuser = nbd\n", "f:2: generic: user: nbd-server's key has no like here: start "
					     "the server as that user" },
		{ "[generic]\nallowlist = false\n", "f:2: generic: allowlist: nbd-server's key has no like "
						    "here if false: exports are always "
						    "listed, but for those that allow- keys hide" },
		{ "[generic]\noldstyle = true\n", "f:2: generic: oldstyle: nbd-server's key has no like here "
						  "if true: there is only the new "
						  "style" },
		{ "[generic]\nforce_tls = 1\n", "f:2: generic: force_tls: neither 'true' nor 'false'" },
		{ "\n[generic]\nport = 1\n", "f:2: generic: 'port' needs a 'listenaddr': not every interface "
					     "is listened on unasked" },
		{ "[generic]\nport = 1\nport = 2\n", "f:3: generic: port: told twice" },
		{ "[generic]\nlistenaddr = !\n", "f:1: generic: !:10809: no address" },
		{ "[generic]\nlistenaddr = ::\nunixsock = /x\n",
			"f:1: generic: 'unixsock' with 'listenaddr' needs 'duallisten = true'" },
		{ "[generic]\nlistenaddr = 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
			"f:1: generic: too many addresses" },
		{ "[a]\npath = /x\n[a]\npath = /y\n", "f:3: a: there is a section of that name already" },
		{ "[a]\ncache = none\n", "f:1: a: the path is missing" },
		{ "[a]\npath = /x\npath = /y\n", "f:3: a: path: there is a path already: '/x'" },
		{ "[a]\npath = /x\ndirectory = /y\n", "f:3: a: directory: there is a path already: '/x'" },
		{ "[a]\npath = memory:0\n", "f:2: a: path: not memory:SIZE, with bytes or K, M, G, T: "
					    "'memory:0' (a file of that name is "
					    "./memory:0)" },
		{ "[a]\ncache = fast\n", "f:2: a: cache: unknown cache mode 'fast'; known: writeback, "
					 "writethrough, none, directsync, "
					 "unsafe" },
		{ "[a]\nreadonly = 1\n", "f:2: a: readonly: neither 'true' nor 'false'" },
		{ "[a]\ncache = none\ncache = none\n", "f:3: a: cache: 'cache' is given twice" },
		{ "[a]\nsync = true\ncache = none\n", "f:3: a: cache: 'cache' is given twice" },
		{ "[a]\ncache = none\npath = memory:1M\n", "f:1: a: 'cache' is not for memory" },
		{ "[a]\noverlay = /y\ndirectory = /x\n", "f:1: a: 'overlay' is not for directories" },
		{ "[a]\nallow-address = nowhere\n",
			"f:2: a: allow-address: 'nowhere' is not an address, ADDRESS/BITS or 'unix'" },
		{ "[a]\nprerun = /x\n",
			"f:2: a: prerun: nbd-server's key has no like here: commands are not run" },
		{ "[a]\ncopyonwrite = true\n", "f:2: a: copyonwrite: nbd-server's key has no like here if "
					       "true: give overlay, which is for "
					       "all connections" },
		{ "[a]\nexportname = /srv/%s\n", "f:1: a: '%s' in an exportname is not replaced here: give "
						 "'path', or 'virtstyle = none'" },
		{ "[a]\nvirtstyle = iphash\n",
			"f:2: a: virtstyle: every client gets the same file: only 'none'" },
		{ "path = /x\n", "f:1: path: a key before the first [section]" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse(rows[i].text), -1);
		assert_string_equal(why, rows[i].why);
	}
	assert_int_equal(parse("[a]\nro = true\n"), -1);
	assert_memory_equal(why, "f:2: a: ro: unknown key 'ro'; known: cache=MODE", 47);
}

static void a_name_has_its_limit(void **state)
{
	static char text[INI_LINE_MAX + 64];

	(void)state;
	snprintf(text, sizeof(text), "[%0*d]\npath = /x\n", (int)INI_LINE_MAX - 2, 7);
	assert_int_equal(parse(text), 0);
	assert_int_equal(strlen(specs[0].name), INI_LINE_MAX - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(options_and_exports_arrive, forget),
		cmocka_unit_test_teardown(nbd_servers_keys_mean_the_same, forget),
		cmocka_unit_test_teardown(mistakes_are_refused_where_they_are, forget),
		cmocka_unit_test_teardown(a_name_has_its_limit, forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
