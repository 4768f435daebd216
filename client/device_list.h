/* client/device_list.h -- the devices of a configuration file: one a section.
 *
 *	[vm1]
 *	uri = nbd://storage1/vm1
 *	socket-path = /run/vnbd/vm1.sock
 *	num-queues = 2
 *
 * A section's name is the device's, for the log and to know it again when the file is read again: up to
 * DEVICE_NAME_MAX letters, digits, '-', '_' and '.'. Each section has a URI and a socket's path of its own.
 */
#pragma once

#include "client/device_config.h"
#include "conf/ini.h"

/* Of one process. Each device has threads, connections and descriptors of its own; who has more machines on a host than
 * this has reason not to let one process's end stop all of them. */
#define DEVICES_MAX 64u

#define DEVICE_NAME_MAX 64u

struct device_list {
	char *text; /* owned: the strings are in it; NULL: they are borrowed */
	unsigned count;
	struct device_config devices[DEVICES_MAX];
};

/* device_list_parse() - @text: as for ini_parse(); the strings stay in it.
 * Returns 0, or -1 with the reason in @why: "NAME:LINE: ..."; no device at all is an error, too. */
int device_list_parse(
	const char *name, char *text, size_t length, struct device_list *list, char why[INI_WHY_SIZE]);

/* device_list_read() - of a file. Returns NULL with the reason in @why; else the caller's until device_list_free(). */
struct device_list *device_list_read(const char *path, char why[INI_WHY_SIZE]);
void device_list_free(struct device_list *list);

/* device_list_find() - by name; NULL: there is none. */
const struct device_config *device_list_find(const struct device_list *list, const char *name);
