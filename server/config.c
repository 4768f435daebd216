/* server/config.c -- from sections and keys to what the command line would have said. */
#include "server/config.h"

#include <assert.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(INI_REASON_SIZE >= CMDLINE_WHY_SIZE, "room for a row's reason");

static const char generic_name[] = "generic";

struct reader {
	const struct config_taker *taker;
	struct config *config;
	void *names; /* of the sections: a tree of tsearch(3) */
	bool in_generic, has_spec;
	struct export_spec spec; /* of the section that is being read */
	uint64_t options_told;	 /* bits: rows of the taker's options */
	struct {
		const char *addresses, *port, *unix_path;
		bool both;
	} listen; /* nbd-server's words for it; NULL: not told */
	bool has_pattern,
		is_literal; /* its path, in nbd-server's words, where each client may get another file */
};

static int say(char *why, const char *what)
{
	snprintf(why, INI_REASON_SIZE, "%s", what);
	return -1;
}

/* Returns whether @value is one of the two; *@out is which. */
static bool read_flag(const char *value, bool *out, char *why)
{
	*out = strcmp(value, "true") == 0;
	if (*out || strcmp(value, "false") == 0)
		return true;
	say(why, "neither 'true' nor 'false'");
	return false;
}

/* -- nbd-server's keys -------------------------------------------------------------------------------------------- */

enum foreign_kind {
	REFUSED,   /* has no like here */
	ONLY_TRUE, /* what it turns on is always on */
	ONLY_FALSE,
	BECOMES, /* true: our key and value; false: nothing */
};

struct foreign {
	const char *key;
	enum foreign_kind kind;
	const char *why;	 /* not, and what to do instead; NULL: BECOMES */
	const char *own, *value; /* BECOMES */
};

static const struct foreign foreign_generic[] = {
	{ "allowlist", ONLY_TRUE, "exports are always listed, but for those that allow- keys hide", NULL,
		NULL },
	{ "authfile", REFUSED, "give each export allow-address", NULL, NULL },
	{ "cacertfile", REFUSED, "give tls-certificates and tls-verify-peer", NULL, NULL },
	{ "certfile", REFUSED, "give tls-certificates, a directory", NULL, NULL },
	{ "force_tls", BECOMES, NULL, "tls", "require" },
	{ "group", REFUSED, "start the server as that group", NULL, NULL },
	{ "includedir", REFUSED, "give all exports in one file", NULL, NULL },
	{ "keyfile", REFUSED, "give tls-certificates, a directory", NULL, NULL },
	{ "max_threads", REFUSED, "give workers", NULL, NULL },
	{ "oldstyle", ONLY_FALSE, "there is only the new style", NULL, NULL },
	{ "splice", ONLY_FALSE, "there is no such thing", NULL, NULL },
	{ "tlsprio", REFUSED, "GnuTLS's own settings apply", NULL, NULL },
	{ "user", REFUSED, "start the server as that user", NULL, NULL },
	{ 0 },
};

static const struct foreign foreign_export[] = {
	{ "authfile", REFUSED, "give allow-address", NULL, NULL },
	{ "copyonwrite", ONLY_FALSE, "give overlay, which is for all connections", NULL, NULL },
	{ "cowdir", REFUSED, "give overlay", NULL, NULL },
	{ "filesize", REFUSED, "make the file as large as the export", NULL, NULL },
	{ "flush", ONLY_TRUE, "clients may always flush", NULL, NULL },
	{ "force_tls", BECOMES, NULL, "tls", NULL },
	{ "fua", ONLY_TRUE, "clients may always use FUA", NULL, NULL },
	{ "listenaddr", REFUSED, "it belongs into [generic]", NULL, NULL },
	{ "maxconnections", REFUSED, "[generic] has connections and connections-per-address", NULL, NULL },
	{ "multifile", ONLY_FALSE, "an export is one file", NULL, NULL },
	{ "port", REFUSED, "it belongs into [generic]", NULL, NULL },
	{ "postrun", REFUSED, "commands are not run", NULL, NULL },
	{ "prerun", REFUSED, "commands are not run", NULL, NULL },
	{ "rotational", REFUSED, "what the disk is, is found out", NULL, NULL },
	{ "sdp", ONLY_FALSE, "there is no such thing", NULL, NULL },
	{ "sparse_cow", ONLY_FALSE, "give overlay, which is sparse", NULL, NULL },
	{ "splice", ONLY_FALSE, "there is no such thing", NULL, NULL },
	{ "sync", BECOMES, NULL, "cache", "writethrough" },
	{ "temporary", ONLY_FALSE, "give a path of memory:SIZE", NULL, NULL },
	{ "timeout", REFUSED, "connections may be idle", NULL, NULL },
	{ "tlsonly", BECOMES, NULL, "tls", NULL },
	{ "transactionlog", REFUSED, "there is none", NULL, NULL },
	{ "treefiles", ONLY_FALSE, "an export is one file", NULL, NULL },
	{ "trim", ONLY_TRUE, "clients may trim wherever the disk can", NULL, NULL },
	{ "waitfile", REFUSED, "there is no such thing", NULL, NULL },
	{ 0 },
};

static const struct foreign *find_foreign(const struct foreign *rows, const char *key)
{
	for (; rows->key; rows++)
		if (strcmp(rows->key, key) == 0)
			return rows;
	return NULL;
}

/* Returns 0 and in *@becomes whether our key is to be set; or -1 with the reason in @why. */
static int obey_foreign(const struct foreign *row, const char *value, bool *becomes, char *why)
{
	bool on = false;

	if (row->kind != REFUSED && !read_flag(value, &on, why))
		return -1;
	*becomes = row->kind == BECOMES && on;
	if (row->kind == BECOMES || (row->kind == ONLY_TRUE && on) || (row->kind == ONLY_FALSE && !on))
		return 0;
	snprintf(why, INI_REASON_SIZE, "nbd-server's key has no like here%s: %s",
		row->kind == ONLY_TRUE	  ? " if false"
		: row->kind == ONLY_FALSE ? " if true"
					  : "",
		row->why);
	return -1;
}

/* -- [generic] ---------------------------------------------------------------------------------------------------- */

static bool is_in(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

/* What is said in a file otherwise, or not at all. */
static const char *const no_keys[] = { "config", "single", "export", "export-dir", NULL };

static const char *const repeated_keys[] = { "listen", "fault", NULL };

static int set_row(struct reader *reader, const struct cmdline_option *row, const char *value, char *why)
{
	bool on;

	if (row->argument)
		return row->set(reader->taker->settings, value, why);
	if (!read_flag(value, &on, why))
		return -1;
	return on ? row->set(reader->taker->settings, NULL, why) : 0;
}

static int set_option(struct reader *reader, const char *key, const char *value, char *why)
{
	const struct cmdline_option *options = reader->taker->options;

	for (unsigned i = 0; options[i].name; i++) {
		if (strcmp(options[i].name, key) != 0 || is_in(no_keys, key))
			continue;
		if (reader->options_told & UINT64_C(1) << i && !is_in(repeated_keys, key))
			return say(why, "told twice");
		reader->options_told |= UINT64_C(1) << i;
		return set_row(reader, &options[i], value, why);
	}
	return say(why, "no such key is known");
}

static int set_text(const char **field, const char *value, char *why)
{
	if (*field)
		return say(why, "told twice");
	*field = value;
	return 0;
}

static int take_generic(struct reader *reader, const char *key, const char *value, char *why)
{
	const struct foreign *foreign = find_foreign(foreign_generic, key);
	bool becomes;

	if (strcmp(key, "listenaddr") == 0)
		return set_text(&reader->listen.addresses, value, why);
	if (strcmp(key, "port") == 0)
		return set_text(&reader->listen.port, value, why);
	if (strcmp(key, "unixsock") == 0)
		return set_text(&reader->listen.unix_path, value, why);
	if (strcmp(key, "duallisten") == 0)
		return read_flag(value, &reader->listen.both, why) ? 0 : -1;
	if (!foreign)
		return set_option(reader, key, value, why);
	if (obey_foreign(foreign, value, &becomes, why))
		return -1;
	return becomes ? set_option(reader, foreign->own, foreign->value, why) : 0;
}

/* @address is taken over; NULL: out of memory. */
static int listen_on(struct reader *reader, char *address, char *why)
{
	struct config *config = reader->config;
	char reason[INI_REASON_SIZE];

	if (!address)
		return say(why, "out of memory");
	if (config->address_count == CONFIG_ADDRESSES_MAX) {
		free(address);
		return say(why, "too many addresses");
	}
	config->addresses[config->address_count++] = address;
	if (set_option(reader, "listen", address, reason) == 0)
		return 0;
	snprintf(why, INI_REASON_SIZE, "%.150s: %.300s", address, reason);
	return -1;
}

static char *address_of(const char *host, size_t length, const char *port)
{
	bool is_inet6 = memchr(host, ':', length) != NULL;
	char *text;

	if (asprintf(&text, "%s%.*s%s:%s", is_inet6 ? "[" : "", (int)length, host, is_inet6 ? "]" : "",
		    port ? port : "10809") < 0)
		return NULL;
	return text;
}

static int listen_on_unix(struct reader *reader, char *why)
{
	char *text;

	if (!reader->listen.unix_path)
		return 0;
	if (asprintf(&text, "unix:%s", reader->listen.unix_path) < 0)
		text = NULL;
	return listen_on(reader, text, why);
}

static int end_generic(struct reader *reader, char *why)
{
	const char *host = reader->listen.addresses;

	if (reader->listen.port && !host)
		return say(why, "'port' needs a 'listenaddr': not every interface is listened on unasked");
	if (reader->listen.unix_path && host && !reader->listen.both)
		return say(why, "'unixsock' with 'listenaddr' needs 'duallisten = true'");
	while (host) {
		size_t length;

		host += strspn(host, ", \t");
		length = strcspn(host, ", \t");
		if (length == 0)
			break;
		if (listen_on(reader, address_of(host, length, reader->listen.port), why))
			return -1;
		host += length;
	}
	return listen_on_unix(reader, why);
}

/* -- exports ------------------------------------------------------------------------------------------------------ */

static int set_export_key(struct reader *reader, const char *key, const char *value, char *why)
{
	bool on = true;

	if (export_spec_key_is_flag(key)) {
		if (!read_flag(value, &on, why))
			return -1;
		value = NULL;
	}
	return on && export_spec_set(&reader->spec, key, value, why, INI_REASON_SIZE) ? -1 : 0;
}

static int place(struct reader *reader, const char *path, bool is_folder, char *why)
{
	return export_spec_place(&reader->spec, path, is_folder, why, INI_REASON_SIZE) ? -1 : 0;
}

static int take_export(struct reader *reader, const char *key, const char *value, char *why)
{
	const struct foreign *foreign = find_foreign(foreign_export, key);
	bool becomes;

	if (strcmp(key, "path") == 0)
		return place(reader, value, false, why);
	if (strcmp(key, "directory") == 0)
		return place(reader, value, true, why);
	if (strcmp(key, "exportname") == 0) {
		reader->has_pattern = strstr(value, "%s") != NULL;
		return place(reader, value, false, why);
	}
	if (strcmp(key, "virtstyle") == 0) {
		reader->is_literal = true;
		return strcmp(value, "none") == 0 ? 0
						  : say(why, "every client gets the same file: only 'none'");
	}
	if (!foreign)
		return set_export_key(reader, key, value, why);
	if (obey_foreign(foreign, value, &becomes, why))
		return -1;
	if (becomes && export_spec_set(&reader->spec, foreign->own, foreign->value, why, INI_REASON_SIZE))
		return -1;
	return 0;
}

static int end_export(struct reader *reader, char *why)
{
	if (reader->has_pattern && !reader->is_literal)
		return say(why,
			"'%s' in an exportname is not replaced here: give 'path', or 'virtstyle = none'");
	if (export_spec_finish(&reader->spec, why, INI_REASON_SIZE))
		return -1;
	reader->has_spec = false;
	return reader->taker->add_export(reader->taker->settings, &reader->spec, why);
}

/* -- sections ----------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int begin_section(void *arg, const char *name, char *why)
{
	struct reader *reader = arg;
	const char *const *known = tsearch(name, &reader->names, compare);

	if (!known)
		return say(why, "out of memory");
	if (*known != name)
		return say(why, "there is a section of that name already");
	reader->in_generic = strcmp(name, generic_name) == 0;
	if (reader->in_generic)
		return 0;
	reader->has_pattern = reader->is_literal = false;
	reader->has_spec = true;
	return export_spec_begin(name, &reader->spec, why, INI_REASON_SIZE) ? -1 : 0;
}

static int take_key(void *arg, const char *key, const char *value, char *why)
{
	struct reader *reader = arg;

	if (!*value)
		return say(why, "the value is missing");
	return reader->in_generic ? take_generic(reader, key, value, why)
				  : take_export(reader, key, value, why);
}

static int end_section(void *arg, char *why)
{
	struct reader *reader = arg;

	return reader->in_generic ? end_generic(reader, why) : end_export(reader, why);
}

static void keep(void *name)
{
	(void)name;
}

int config_parse(const char *name, char *text, size_t length, const struct config_taker *taker,
	struct config *config, char why[INI_WHY_SIZE])
{
	static const struct ini_handler handler = {
		.section = begin_section, .key = take_key, .section_end = end_section
	};
	struct reader reader = { .taker = taker, .config = config };
	int error = ini_parse(name, text, length, &handler, &reader, why);

	if (reader.has_spec)
		export_spec_fini(&reader.spec);
	tdestroy(reader.names, keep);
	return error;
}

int config_read(
	const char *path, const struct config_taker *taker, struct config *config, char why[INI_WHY_SIZE])
{
	size_t length;

	config->text = ini_read(path, &length, why);
	return config->text ? config_parse(path, config->text, length, taker, config, why) : -1;
}

void config_fini(struct config *config)
{
	for (unsigned i = 0; i < config->address_count; i++)
		free(config->addresses[i]);
	free(config->text);
	*config = (struct config){ 0 };
}
