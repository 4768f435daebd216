/* server/export_folder.c -- looks names up in a folder, and counts who uses what is open. */
#include "server/export_folder.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "conf/log.h"
#include "server/export.h"

struct export_folder {
	struct folder folder;
	time_t told; /* the second of the last complaint */
	/* Held while an export is closed, too, so that the next one to open it finds its locks gone. */
	pthread_mutex_t lock;
	struct export *open; /* shared: under lock, as are their counts; owned */
};

int export_folder_new(const char *path, struct export_folder **out, char *why, size_t why_size)
{
	struct export_folder *folder = calloc(1, sizeof(*folder));
	int error;

	if (!folder) {
		snprintf(why, why_size, "%s: %s", path, strerror(ENOMEM));
		return -ENOMEM;
	}
	folder->folder.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder->folder.fd < 0) {
		error = -errno;
		snprintf(why, why_size, "%s: open: %s", path, strerror(-error));
		free(folder);
		return error;
	}
	pthread_mutex_init(&folder->lock, NULL);
	*out = folder;
	return 0;
}

void export_folder_free(struct export_folder *folder)
{
	if (!folder)
		return;
	assert(!folder->open);
	pthread_mutex_destroy(&folder->lock);
	close(folder->folder.fd);
	free(folder);
}

/* Names. */

static bool is_exported(const struct export_folder *folder, const char *name)
{
	struct stat found;

	return name[0] != '.' && folder_file_stat(&folder->folder, name, &found) == 0 &&
	       (S_ISREG(found.st_mode) || S_ISBLK(found.st_mode));
}

/* Copies a client's bytes to a string; returns whether they can be a file's name. */
static bool take_name(const char *name, size_t length, char out[NAME_MAX + 1])
{
	if (length == 0 || length > NAME_MAX || memchr(name, '/', length) || memchr(name, '\0', length))
		return false;
	memcpy(out, name, length);
	out[length] = '\0';
	return true;
}

bool export_folder_has(const struct export_folder *folder, const char *name, size_t length)
{
	char file[NAME_MAX + 1];

	return take_name(name, length, file) && is_exported(folder, file);
}

static void free_entries(struct dirent **entries, int count)
{
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}

void export_folder_list(
	const struct export_folder *folder, void (*each)(void *context, const char *name), void *context)
{
	struct dirent **entries;
	int count = scandirat(folder->folder.fd, ".", &entries, NULL, alphasort), listed = 0;

	for (int i = 0; i < count && listed < EXPORT_FOLDER_LIST_MAX; i++) {
		if (!is_exported(folder, entries[i]->d_name))
			continue;
		each(context, entries[i]->d_name);
		listed++;
	}
	if (count >= 0)
		free_entries(entries, count);
}

/* Opening. */

static struct export *find_open(const struct export_folder *folder, const char *name)
{
	for (struct export *export = folder->open; export; export = export->next)
		if (strcmp(export->spec.name, name) == 0)
			return export;
	return NULL;
}

static struct export *take_open(struct export_folder *folder, const char *name)
{
	struct export *export;

	pthread_mutex_lock(&folder->lock);
	export = find_open(folder, name);
	if (export)
		export->users++;
	pthread_mutex_unlock(&folder->lock);
	return export;
}

static void free_export(struct export *export)
{
	if (export->disk)
		verifier_close(&export->verifier, export->disk);
	disk_free(export->disk);
	fault_set_fini(&export->faults);
	free(export->spec.name);
	free(export->spec.path);
	free(export);
}

/* The folder's description, for one of its files. */
static struct export *new_export(
	struct export_folder *folder, const struct export_spec *spec, const char *name)
{
	struct export *export = calloc(1, sizeof(*export));
	char why[128];

	if (!export)
		return NULL;
	export->home = folder;
	export->users = 1;
	export->spec.description = spec->description;
	export->spec.mode = spec->mode;
	export->spec.readonly = spec->readonly;
	export->spec.name = strdup(name);
	if (asprintf(&export->spec.path, "%s/%s", spec->path, name) < 0)
		export->spec.path = NULL;
	fault_set_init(&export->faults, export->spec.name);
	if (export->spec.name && export->spec.path && export_inject(export, spec, why, sizeof(why)) == 0)
		return export;
	free_export(export);
	return NULL;
}

static time_t this_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static int open_disk(struct export_folder *folder, struct export *export, bool looks)
{
	char why[512], name[256];
	bool tells = folder->told != this_second(); /* clients choose how often this happens */
	int error = cache_open_in(&folder->folder, export->spec.path, export->spec.mode,
		export->spec.readonly, looks, &export->disk, why, tells ? sizeof(why) : 0);

	if (error && tells) {
		folder->told = this_second();
		log_warning("export '%s' cannot be opened: %s",
			log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)), why);
	}
	return error;
}

static void add_open(struct export_folder *folder, struct export *export)
{
	pthread_mutex_lock(&folder->lock);
	export->next = folder->open;
	folder->open = export;
	pthread_mutex_unlock(&folder->lock);
}

struct export *export_folder_open(struct export_folder *folder, const struct export_spec *spec,
	const char *name, size_t length, bool looks)
{
	char file[NAME_MAX + 1];
	struct export *export;

	if (!take_name(name, length, file) || !is_exported(folder, file))
		return NULL;
	export = take_open(folder, file);
	if (export)
		return export;
	export = new_export(folder, spec, file);
	if (!export)
		return NULL;
	if (open_disk(folder, export, looks)) {
		free_export(export);
		return NULL;
	}
	export->size_told = export->disk->facts.size;
	verifier_init(&export->verifier, &export->disk->facts);
	if (!looks)
		add_open(folder, export);
	return export;
}

/* One that was opened for its facts is in no list. */
static void unlink_export(struct export_folder *folder, const struct export *export)
{
	for (struct export **link = &folder->open; *link; link = &(*link)->next)
		if (*link == export) {
			*link = export->next;
			return;
		}
}

void export_folder_close(struct export *export)
{
	struct export_folder *folder = export->home;

	pthread_mutex_lock(&folder->lock);
	if (--export->users == 0) {
		unlink_export(folder, export);
		free_export(export);
	}
	pthread_mutex_unlock(&folder->lock);
}

void export_folder_for_each(
	struct export_folder *folder, void (*each)(void *context, struct export *export), void *context)
{
	pthread_mutex_lock(&folder->lock);
	for (struct export *export = folder->open; export; export = export->next)
		each(context, export);
	pthread_mutex_unlock(&folder->lock);
}
