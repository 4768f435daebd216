/* client/device_config.h -- what an operator says of one disk, by the command line or a section of a file.
 *
 * The same rows serve both: an option --NAME=VALUE is a key NAME = VALUE; a flag is a key that is true or false.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/cmdline.h"

/* Virtqueues at least, unless told otherwise: virtual machines may have more CPUs than this host lets us use. */
#define DEVICE_QUEUES_USUAL 4u

/* Strings are borrowed from whatever was read, or, in a copy, owned by it. Of numbers, 0 is: not told. */
struct device_config {
	const char *name; /* the section's; NULL: of the command line */
	const char *uri;
	const char *socket_path; /* NULL: @fd, or not told */
	const char *vduse;	 /* a device of this host's kernel; NULL: not told */
	const char *serial;	 /* NULL: none */
	int fd;			 /* a listening socket that our parent left open; -1: none */
	unsigned num_queues, threads, connections;
	uint64_t replay_bytes;
	bool readonly;
};

/* device_config_init() - nothing told. */
void device_config_init(struct device_config *config);

/* The rows; ends with one without a name. For a command line's settings that begin with a struct device_config. */
extern const struct cmdline_option device_options[];

/* device_config_take_uri() - as cmdline's word(). */
int device_config_take_uri(void *config, const char *word, char *why);

/* device_config_set() - @key of a file's section, one of device_options or "uri", is @value.
 * Returns 0, or -1 with the reason in @why (CMDLINE_WHY_SIZE bytes). */
int device_config_set(struct device_config *config, const char *key, const char *value, char *why);

/* device_config_places() - how many of socket, descriptor and kernel were told: one is right. */
unsigned device_config_places(const struct device_config *config);

/* device_config_is_told() - whether anything was set. */
bool device_config_is_told(const struct device_config *config);

/* device_config_same() - whether they mean the same disk, told the same. */
bool device_config_same(const struct device_config *a, const struct device_config *b);

/* device_config_copy() - with strings of its own. Returns 0 or -ENOMEM; device_config_fini() gives them back. */
int device_config_copy(struct device_config *to, const struct device_config *from);
void device_config_fini(struct device_config *config);

/* device_config_queues() - how many, told or not. */
unsigned device_config_queues(const struct device_config *config);
