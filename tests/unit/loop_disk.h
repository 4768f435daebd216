/* tests/unit/loop_disk.h -- a loop device over a sparse file in a memory filesystem, for root; and a ring for all tests of a
 * program, for cmocka_run_group_tests(). */
#pragma once

#include "tests/unit/disks.h"

struct loop_disk {
	char folder[64], device[64];
};

__attribute__((format(printf, 1, 2))) static inline int run_shell(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

static struct uring ring;

static inline int ring_begin(void **state)
{
	(void)state;
	return uring_init(&ring);
}

static inline int ring_end(void **state)
{
	(void)state;
	uring_fini(&ring);
	return 0;
}

/* The one there is, if its folder has a name. */
static struct loop_disk loop_disk;

/* Also at exit, for tests that fail. */
static inline void loop_disk_remove(void)
{
	if (!loop_disk.folder[0])
		return;
	if (loop_disk.device[0])
		run_shell("losetup -d %s", loop_disk.device);
	run_shell("umount -l %s 2>/dev/null; rmdir %s", loop_disk.folder, loop_disk.folder);
	loop_disk.folder[0] = '\0';
}

static inline bool loop_disk_attach(const char *losetup_options)
{
	char command[256];
	FILE *losetup;

	snprintf(command, sizeof(command), "losetup -f --show %s %s/disk 2>/dev/null", losetup_options,
		loop_disk.folder);
	losetup = popen(command, "re");
	if (!losetup)
		return false;
	if (!fgets(loop_disk.device, sizeof(loop_disk.device), losetup))
		loop_disk.device[0] = '\0';
	loop_disk.device[strcspn(loop_disk.device, "\n")] = '\0';
	pclose(losetup);
	return loop_disk.device[0];
}

/* @filesystem: tmpfs, which has holes, or ramfs, which has none. @size: as truncate(1) takes it. Skips the test where
 * there is no root or no loop device; in CI it fails. Returns the device's path. */
static inline const char *loop_disk_make(
	const char *filesystem, const char *mount_options, const char *size, const char *losetup_options)
{
	char folder[] = "/tmp/vnbd-test-XXXXXX";

	loop_disk_remove(); /* of a test that failed */
	atexit(loop_disk_remove);
	loop_disk.device[0] = '\0';
	if (geteuid() == 0 && mkdtemp(folder)) {
		strcpy(loop_disk.folder, folder);
		if (run_shell("mount -t %s -o %s none %s 2>/dev/null && truncate -s %s %s/disk", filesystem,
			    mount_options, folder, size, folder) == 0 &&
			loop_disk_attach(losetup_options))
			return loop_disk.device;
		loop_disk_remove();
	}
	assert_null(getenv("CI"));
	print_message("# no root, %s or loop device\n", filesystem);
	skip();
	return NULL;
}
