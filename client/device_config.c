/* client/device_config.c -- the rows, and what can be done with the struct they fill. */
#include "client/device_config.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/bridge.h"
#include "client/replay.h"
#include "client/stripe.h"
#include "conf/size.h"
#include "virtio/vduse.h"
#include "virtio/virtio_blk.h"

/* -- one value ---------------------------------------------------------------------------------------------------- */

static int set_socket_path(void *config, const char *value, char *why)
{
	(void)why;
	((struct device_config *)config)->socket_path = value;
	return 0;
}

static int set_vduse(void *config, const char *value, char *why)
{
	if (!vduse_name_is_valid(value)) {
		snprintf(why, CMDLINE_WHY_SIZE,
			"a device's name is of up to 64 letters, digits, '-', '_', '.'");
		return -1;
	}
	((struct device_config *)config)->vduse = value;
	return 0;
}

static int set_read_only(void *config, const char *value, char *why)
{
	(void)value;
	(void)why;
	((struct device_config *)config)->readonly = true;
	return 0;
}

static int set_num_queues(void *config, const char *value, char *why)
{
	return cmdline_number(
		value, 1, VIRTIO_BLK_QUEUES_MAX, &((struct device_config *)config)->num_queues, why);
}

static int set_threads(void *config, const char *value, char *why)
{
	return cmdline_number(value, 1, BRIDGE_THREADS_MAX, &((struct device_config *)config)->threads, why);
}

static int set_connections(void *config, const char *value, char *why)
{
	return cmdline_number(
		value, 1, STRIPE_LINKS_MAX, &((struct device_config *)config)->connections, why);
}

static int set_replay(void *config, const char *value, char *why)
{
	uint64_t bytes;

	if (size_parse(value, &bytes) || bytes < REPLAY_BYTES_MIN || bytes > REPLAY_BYTES_MAX) {
		snprintf(why, CMDLINE_WHY_SIZE, "not a size from 8M to 4G");
		return -1;
	}
	((struct device_config *)config)->replay_bytes = bytes;
	return 0;
}

static int set_serial(void *config, const char *value, char *why)
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
	((struct device_config *)config)->serial = value;
	return 0;
}

const struct cmdline_option device_options[] = {
	{ "socket-path", 's', "PATH",
		"Make a Unix socket at PATH and serve the virtual machine monitor that connects to it,\n"
		"one after the other. What a dead process left there is replaced. Needed, or --fd.",
		set_socket_path, NULL },
	{ "vduse", 0, "NAME",
		"No virtual machine: attach the disk to this host's own kernel as /dev/vdX, by a VDUSE\n"
		"device called NAME. As root; needs the kernel's modules vduse and virtio-vdpa.",
		set_vduse, NULL },
	{ "read-only", 'r', NULL, "Offer a read-only disk and never change the export.", set_read_only,
		NULL },
	{ "num-queues", 'q', "N",
		"Virtqueues the disk may have. QEMU asks for one per virtual CPU unless told otherwise,\n"
		"and refuses a back-end that has fewer. Default: one per CPU here, at least 4.",
		set_num_queues, NULL },
	{ "threads", 't', "N",
		"Threads that serve the queues, each with NBD connections of its own. Default: one per\n"
		"queue and CPU here, up to 4; more only help where one thread's CPU is the limit.",
		set_threads, NULL },
	{ "connections", 'c', "N",
		"NBD connections per thread. Default: 1; more help where one TCP connection cannot fill\n"
		"the network. Only for exports that allow several connections, others get one in all.",
		set_connections, NULL },
	{ "replay", 0, "SIZE",
		"Keep up to SIZE (8M to 4G) of what is written and not flushed, and send it again where the\n"
		"server may have lost it, as in a power cut. One thread and connection. Default: nothing.",
		set_replay, NULL },
	{ "serial", 'i', "TEXT", "The disk's serial number, up to 20 characters. Default: none.", set_serial,
		NULL },
	{ 0 },
};

int device_config_take_uri(void *config, const char *word, char *why)
{
	struct device_config *device = config;

	if (device->uri) {
		snprintf(why, CMDLINE_WHY_SIZE, "there is an NBD URI already");
		return -1;
	}
	device->uri = word;
	return 0;
}

/* -- a file's key ------------------------------------------------------------------------------------------------- */

static int set_flag(
	struct device_config *config, const struct cmdline_option *row, const char *value, char *why)
{
	if (strcmp(value, "true") == 0)
		return row->set(config, NULL, why);
	if (strcmp(value, "false") == 0)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "neither 'true' nor 'false'");
	return -1;
}

int device_config_set(struct device_config *config, const char *key, const char *value, char *why)
{
	if (!*value) {
		snprintf(why, CMDLINE_WHY_SIZE, "the value is missing");
		return -1;
	}
	if (strcmp(key, "uri") == 0)
		return device_config_take_uri(config, value, why);
	for (const struct cmdline_option *row = device_options; row->name; row++) {
		if (strcmp(key, row->name) == 0)
			return row->argument ? row->set(config, value, why)
					     : set_flag(config, row, value, why);
	}
	snprintf(why, CMDLINE_WHY_SIZE, "no such key is known");
	return -1;
}

/* -- all of it ---------------------------------------------------------------------------------------------------- */

void device_config_init(struct device_config *config)
{
	*config = (struct device_config){ .fd = -1 };
}

unsigned device_config_places(const struct device_config *config)
{
	return !!config->socket_path + (config->fd >= 0) + !!config->vduse;
}

bool device_config_is_told(const struct device_config *config)
{
	struct device_config nothing;

	device_config_init(&nothing);
	return !device_config_same(config, &nothing);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool device_config_same(const struct device_config *a, const struct device_config *b)
{
	return same_text(a->name, b->name) && same_text(a->uri, b->uri) &&
	       same_text(a->socket_path, b->socket_path) && same_text(a->vduse, b->vduse) &&
	       same_text(a->serial, b->serial) && a->fd == b->fd && a->num_queues == b->num_queues &&
	       a->threads == b->threads && a->connections == b->connections &&
	       a->replay_bytes == b->replay_bytes && a->readonly == b->readonly;
}

/* Returns false: out of memory. */
static bool copy_text(const char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

int device_config_copy(struct device_config *to, const struct device_config *from)
{
	bool copied;

	*to = *from;
	copied = copy_text(&to->name, from->name);
	copied &= copy_text(&to->uri, from->uri);
	copied &= copy_text(&to->socket_path, from->socket_path);
	copied &= copy_text(&to->vduse, from->vduse);
	copied &= copy_text(&to->serial, from->serial);
	if (copied)
		return 0;
	device_config_fini(to);
	return -ENOMEM;
}

void device_config_fini(struct device_config *config)
{
	free((char *)config->name);
	free((char *)config->uri);
	free((char *)config->socket_path);
	free((char *)config->vduse);
	free((char *)config->serial);
	device_config_init(config);
}

unsigned device_config_queues(const struct device_config *config)
{
	cpu_set_t cpus;
	unsigned count = sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : (unsigned)CPU_COUNT(&cpus);

	if (config->num_queues)
		return config->num_queues;
	if (count < DEVICE_QUEUES_USUAL)
		return DEVICE_QUEUES_USUAL;
	return count < VIRTIO_BLK_QUEUES_MAX ? count : VIRTIO_BLK_QUEUES_MAX;
}
