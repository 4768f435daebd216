/* cache/lock_holder.c -- the kernel does not tell who owns a description's lock, so this looks at all there are in /proc.
 *
 * A line of /proc/PID/fdinfo/FD about a lock (fs/proc/fd.c, fs/locks.c):
 *	lock:	1: OFDLCK ADVISORY  READ -1 fe:00:10952779 100 101
 */
#include "cache/lock_holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/log.h"

/* Whether a line of fdinfo is about a lock on @byte. The range ends the line; "EOF" is a range's open end. */
static bool covers(const char *line, unsigned long long byte)
{
	unsigned long long start, end;
	char last[32];

	if (sscanf(line, "lock: %*s %*s %*s %*s %*s %*s %llu %31s", &start, last) !=
		2) /* NOLINT: the kernel's */
		return false;
	end = strcmp(last, "EOF") == 0 ? byte : strtoull(last, NULL, 10);
	return start <= byte && byte <= end;
}

static bool has_lock(const char *fdinfo, unsigned long long byte)
{
	FILE *file = fopen(fdinfo, "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = covers(line, byte);
	if (file)
		fclose(file);
	return found;
}

static bool is_same_file(const char *path, const struct stat *file)
{
	struct stat found;

	return stat(path, &found) == 0 && found.st_dev == file->st_dev && found.st_ino == file->st_ino;
}

static bool is_number(const char *text)
{
	return isdigit((unsigned char)*text);
}

static bool process_holds(const char *pid, const struct stat *file, unsigned long long byte)
{
	char path[64];
	struct dirent *entry;
	bool found = false;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo", pid);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		if (!is_number(entry->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, entry->d_name);
		if (!has_lock(path, byte))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/fd/%.20s", pid, entry->d_name);
		found = is_same_file(path, file);
	}
	if (folder)
		closedir(folder);
	return found;
}

static void get_name(const char *pid, char *name, size_t name_size)
{
	char path[64], comm[64] = "a process";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	file = fopen(path, "re");
	if (file) {
		if (fgets(comm, sizeof(comm), file))
			comm[strcspn(comm, "\n")] = '\0';
		fclose(file);
	}
	log_quote(name, name_size, comm, strlen(comm));
}

pid_t lock_holder_find(const struct stat *file, unsigned long long byte, char *name, size_t name_size)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t holder = 0;

	while (processes && !holder && (entry = readdir(processes))) {
		if (!is_number(entry->d_name) || !process_holds(entry->d_name, file, byte))
			continue;
		holder = (pid_t)strtol(entry->d_name, NULL, 10);
		get_name(entry->d_name, name, name_size);
	}
	if (processes)
		closedir(processes);
	return holder;
}
