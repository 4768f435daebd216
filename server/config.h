/* server/config.h -- a configuration file of vnbd-server, in nbd-server's dialect: [generic], and a section for each export.
 *
 * A key of [generic] is a long option of the command line; of an export, a key of --export, or "path" or "directory". A flag
 * is true or false. Of nbd-server's own keys, those are taken that mean here exactly what they mean there; the others are
 * refused, each with what to do instead. vnbd.conf(5) has all of them.
 */
#pragma once

#include "conf/cmdline.h"
#include "conf/ini.h"
#include "server/export_spec.h"

/* That listenaddr and port of one file may stand for. */
#define CONFIG_ADDRESSES_MAX 16u

/* What settings borrow; it lives as long as they do. */
struct config {
	char *text;			       /* owned: the file's, cut up; NULL: not read */
	char *addresses[CONFIG_ADDRESSES_MAX]; /* owned */
	unsigned address_count;
};

/* Who takes what the file says, in its order. */
struct config_taker {
	const struct cmdline_option *options; /* those that are keys of [generic], and others */
	void *settings;			      /* for their set() */
	/* Takes over @spec, which is complete. Returns 0, or -1 with the reason in @why (CMDLINE_WHY_SIZE bytes). */
	int (*add_export)(void *settings, struct export_spec *spec, char *why);
};

/* config_parse() - @text: as for ini_parse(); what is taken points into it.
 * Returns 0, or -1 at the first error, with the reason in @why: "NAME:LINE: section: key: ...". */
int config_parse(const char *name, char *text, size_t length, const struct config_taker *taker,
	struct config *config, char why[INI_WHY_SIZE]);

/* config_read() - of a file. Either way, @config is to be given to config_fini(). */
int config_read(
	const char *path, const struct config_taker *taker, struct config *config, char why[INI_WHY_SIZE]);
void config_fini(struct config *config);
