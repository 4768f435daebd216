/* A configuration file means what it says, and where it says nothing sensible the operator reads the line, the section,
 * the key and what is wrong.  If this fails, a typing error changes a disk without a word, or costs an hour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/device_list.h"

static struct device_list list;
static char why[INI_WHY_SIZE];

/* The text goes into memory of its very size, so that a sanitizer sees a step past its end. */
static int parse_bytes(const char *bytes, size_t length)
{
	static char *text;

	free(text);
	text = malloc(length + 1);
	assert_non_null(text);
	memcpy(text, bytes, length);
	text[length] = '\0';
	why[0] = '\0';
	return device_list_parse("f", text, length, &list, why);
}

static int parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static void every_key_arrives(void **state)
{
	const struct device_config *device;

	(void)state;
	assert_int_equal(parse("# first\n"
			       "[vm1]\n"
			       "uri = nbds://me@host/vm1?tls-psk-file=/a b;c#d\n"
			       "socket-path=/run/vm1.sock\r\n"
			       "\tnum-queues\t=\t8  \n"
			       "threads = 2\n"
			       "connections = 3\n"
			       "serial = a = b\n"
			       "read-only = true\n"
			       "\n"
			       "; second\n"
			       "[ vm-2.x ]\n"
			       "socket-path = /run/vm2.sock\n"
			       "read-only = false\n"
			       "uri = nbd://host/vm2"),
		0);
	assert_int_equal(list.count, 2);
	device = device_list_find(&list, "vm1");
	assert_string_equal(device->uri, "nbds://me@host/vm1?tls-psk-file=/a b;c#d");
	assert_string_equal(device->socket_path, "/run/vm1.sock");
	assert_string_equal(device->serial, "a = b");
	assert_int_equal(device->num_queues, 8);
	assert_int_equal(device->threads, 2);
	assert_int_equal(device->connections, 3);
	assert_true(device->readonly);
	device = device_list_find(&list, "vm-2.x");
	assert_string_equal(device->uri, "nbd://host/vm2");
	assert_null(device->serial);
	assert_int_equal(device->num_queues, 0);
	assert_false(device->readonly);
	assert_null(device_list_find(&list, "vm"));
}

#define VM  "[vm]\nuri = u\nsocket-path = s\n"
#define WHO "f:4: vm: "

static const struct {
	const char *text, *why;
} bads[] = {
	{ "", "f: no device is described in it" },
	{ "# nothing\n", "f: no device is described in it" },
	{ "uri = u\n", "f:1: uri: a key before the first [section]" },
	{ "\n[vm\n", "f:2: a section is a name between '[' and ']', and nothing behind" },
	{ "[vm] x\n", "f:1: a section is a name between '[' and ']', and nothing behind" },
	{ "[]\n", "f:1: : a device's name is of up to 64 letters, digits, '-', '_' and '.'" },
	{ "[a/b]\n", "f:1: a/b: a device's name is of up to 64 letters, digits, '-', '_' and '.'" },
	{ "[a\x01]\n", "f:1: a\\x01: a device's name is of up to 64 letters, digits, '-', '_' and '.'" },
	{ VM "words\n", WHO "not of the form 'key = value'" },
	{ VM " = 7\n", WHO "not of the form 'key = value'" },
	{ VM "thread = 2\n", WHO "thread: no such key is known" },
	{ VM "fd = 3\n", WHO "fd: no such key is known" },
	{ VM "threads =\n", WHO "threads: the value is missing" },
	{ VM "threads = 17\n", WHO "threads: not a number from 1 to 16" },
	{ VM "num-queues = 257\n", WHO "num-queues: not a number from 1 to 256" },
	{ VM "connections = 1 \" \n", WHO "connections: not a number from 1 to 16" },
	{ VM "read-only = yes\n", WHO "read-only: neither 'true' nor 'false'" },
	{ VM "serial = 123456789012345678901\n", WHO "serial: a serial has up to 20 characters" },
	{ VM "uri = v\n", WHO "uri: there is an NBD URI already" },
	{ VM "socket-path = t\n", WHO "socket-path: told twice" },
	{ VM "read-only = false\nread-only = true\n", "f:5: vm: read-only: told twice" },
	{ VM VM, "f:4: vm: there is a section of that name already" },
	{ VM "[b]\nuri = v\nsocket-path = s\n", "f:4: b: its socket-path is that of vm" },
	{ VM "[b]\nuri = v\n", "f:4: b: its 'socket-path' is missing" },
	{ VM "[b]\nuri = v\nsocket-path = t\nvduse = b\n", "f:4: b: it has a 'socket-path' and a 'vduse'" },
	{ "[a]\nuri = v\nvduse = d\n[b]\nuri = v\nvduse = d\n", "f:4: b: its vduse is that of a" },
	{ "[b]\nsocket-path = v\n" VM, "f:1: b: its 'uri' is missing" },
};

static void what_is_wrong_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		assert_int_equal(parse(bads[i].text), -1);
		assert_string_equal(why, bads[i].why);
	}
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	static char line[INI_LINE_MAX + 16];

	(void)state;
	assert_int_equal(parse_bytes("[a]\nuri = b\0c\n", 14), -1);
	assert_string_equal(why, "f:2: the line has a NUL byte");
	memset(line, '#', sizeof(line) - 1);
	assert_int_equal(parse(line), -1);
	assert_string_equal(why, "f:1: the line is too long");
	line[INI_LINE_MAX] = '\n';
	assert_int_equal(parse(line), -1);
	assert_string_equal(why, "f: no device is described in it");
}

static void devices_have_a_limit(void **state)
{
	static char text[DEVICES_MAX * 64 + 64];
	size_t length = 0;

	(void)state;
	for (unsigned i = 0; i < DEVICES_MAX; i++)
		length += (size_t)snprintf(
			text + length, sizeof(text) - length, "[%u]\nuri = u\nsocket-path = s%u\n", i, i);
	assert_int_equal(parse(text), 0);
	assert_int_equal(list.count, DEVICES_MAX);
	snprintf(text + length, sizeof(text) - length, "[more]\n");
	assert_int_equal(parse(text), -1);
	assert_string_equal(why, "f:193: more: one process serves up to 64 devices");
}

static void files_that_cannot_be_read_are_told(void **state)
{
	(void)state;
	assert_null(device_list_read("/nowhere/x", why));
	assert_string_equal(why, "/nowhere/x: No such file or directory");
	assert_null(device_list_read("/", why));
	assert_string_equal(why, "/: Is a directory");
	assert_null(device_list_read("/dev/zero", why));
	assert_string_equal(why, "/dev/zero: a configuration has up to 16777216 bytes");
}

static void copies_are_the_same_and_changes_are_not(void **state)
{
	struct device_config copy, changed;

	(void)state;
	assert_int_equal(parse(VM "serial = x\n"), 0);
	assert_int_equal(device_config_copy(&copy, &list.devices[0]), 0);
	assert_true(device_config_same(&copy, &list.devices[0]));
	assert_ptr_not_equal(copy.uri, list.devices[0].uri);
	changed = copy;
	changed.serial = NULL;
	assert_false(device_config_same(&copy, &changed));
	changed = copy;
	changed.uri = "v";
	assert_false(device_config_same(&copy, &changed));
	changed = copy;
	changed.threads = 1;
	assert_false(device_config_same(&copy, &changed));
	changed = copy;
	changed.readonly = true;
	assert_false(device_config_same(&copy, &changed));
	device_config_fini(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_arrives),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(bytes_that_are_no_text_are_refused),
		cmocka_unit_test(devices_have_a_limit),
		cmocka_unit_test(files_that_cannot_be_read_are_told),
		cmocka_unit_test(copies_are_the_same_and_changes_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
