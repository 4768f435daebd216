/* client/device_list.c -- from a file's sections to devices that can exist beside each other. */
#include "client/device_list.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(INI_REASON_SIZE >= CMDLINE_WHY_SIZE, "room for a row's reason");

struct section {
	struct device_list *list;
	unsigned keys_told; /* bits: rows of device_options; the last one is the URI */
};

static struct device_config *latest(const struct section *section)
{
	return &section->list->devices[section->list->count - 1];
}

static int say(char *why, const char *what)
{
	snprintf(why, INI_REASON_SIZE, "%s", what);
	return -1;
}

static int begin_section(void *arg, const char *name, char *why)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	struct section *section = arg;
	struct device_list *list = section->list;

	if (!*name || name[strspn(name, letters)] || strlen(name) > DEVICE_NAME_MAX) {
		snprintf(why, INI_REASON_SIZE,
			"a device's name is of up to %u letters, digits, '-', '_' and '.'", DEVICE_NAME_MAX);
		return -1;
	}
	if (device_list_find(list, name))
		return say(why, "there is a section of that name already");
	if (list->count == DEVICES_MAX) {
		snprintf(why, INI_REASON_SIZE, "one process serves up to %u devices", DEVICES_MAX);
		return -1;
	}
	section->keys_told = 0;
	device_config_init(&list->devices[list->count]);
	list->devices[list->count++].name = name;
	return 0;
}

static unsigned bit_of(const char *key)
{
	unsigned row = 0;

	while (device_options[row].name && strcmp(device_options[row].name, key) != 0)
		row++;
	return 1u << row;
}

static int take_key(void *arg, const char *key, const char *value, char *why)
{
	struct section *section = arg;

	if (device_config_set(latest(section), key, value, why))
		return -1;
	if (section->keys_told & bit_of(key))
		return say(why, "told twice");
	section->keys_told |= bit_of(key);
	return 0;
}

static bool same_place(const struct device_config *a, const struct device_config *b)
{
	if (a->vduse && b->vduse)
		return strcmp(a->vduse, b->vduse) == 0;
	return a->socket_path && b->socket_path && strcmp(a->socket_path, b->socket_path) == 0;
}

static int end_section(void *arg, char *why)
{
	const struct section *section = arg;
	const struct device_config *device = latest(section);

	if (!device->uri)
		return say(why, "its 'uri' is missing");
	if (device_config_places(device) == 0)
		return say(why, "its 'socket-path' is missing");
	if (device_config_places(device) > 1)
		return say(why, "it has a 'socket-path' and a 'vduse'");
	for (const struct device_config *other = section->list->devices; other < device; other++) {
		if (same_place(other, device)) {
			snprintf(why, INI_REASON_SIZE, "its %s is that of %s",
				device->vduse ? "vduse" : "socket-path", other->name);
			return -1;
		}
	}
	return 0;
}

int device_list_parse(
	const char *name, char *text, size_t length, struct device_list *list, char why[INI_WHY_SIZE])
{
	static const struct ini_handler handler = {
		.section = begin_section, .key = take_key, .section_end = end_section
	};
	struct section section = { .list = list };

	list->count = 0;
	if (ini_parse(name, text, length, &handler, &section, why))
		return -1;
	if (list->count)
		return 0;
	snprintf(why, INI_WHY_SIZE, "%s: no device is described in it", name);
	return -1;
}

struct device_list *device_list_read(const char *path, char why[INI_WHY_SIZE])
{
	struct device_list *list = calloc(1, sizeof(*list));
	size_t length;

	if (!list) {
		snprintf(why, INI_WHY_SIZE, "out of memory");
		return NULL;
	}
	list->text = ini_read(path, &length, why);
	if (list->text && device_list_parse(path, list->text, length, list, why) == 0)
		return list;
	device_list_free(list);
	return NULL;
}

void device_list_free(struct device_list *list)
{
	if (!list)
		return;
	free(list->text);
	free(list);
}

const struct device_config *device_list_find(const struct device_list *list, const char *name)
{
	for (unsigned i = 0; i < list->count; i++)
		if (strcmp(list->devices[i].name, name) == 0)
			return &list->devices[i];
	return NULL;
}
