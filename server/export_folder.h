/* server/export_folder.h -- a folder whose files are exports: each is opened for the first client that chooses it and
 * closed behind the last.
 *
 * A file's name is its export's, except names that begin with a dot. A symbolic link counts as what it leads to, as long
 * as that is in the folder. Regular files and block devices are exported, everything else does not exist.
 *
 * The main thread looks names up and opens; any thread closes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct export;
struct export_folder;
struct export_spec;

/* Files of a folder that a list names; the others can be chosen nevertheless. A list is one reply in memory. */
#define EXPORT_FOLDER_LIST_MAX 4096

/* export_folder_new() - @path as a folder. Returns 0, or -errno with the reason in @why. */
int export_folder_new(const char *path, struct export_folder **out, char *why, size_t why_size);
/* None of its exports may be open. */
void export_folder_free(struct export_folder *folder);

/* Whether it has an export of that name; opens nothing. */
bool export_folder_has(const struct export_folder *folder, const char *name, size_t length);

/* Calls @each with the name of every export, sorted. */
void export_folder_list(
	const struct export_folder *folder, void (*each)(void *context, const char *name), void *context);

/* export_folder_open() - the export of that name, as @spec, the folder's, describes it; one reference more.
 * @looks: the client wants to know about it, and does not choose it: what is not open is opened for its facts alone.
 * Returns NULL where it cannot be opened, or no longer exists; the log tells why, at most once a second. */
struct export *export_folder_open(struct export_folder *folder, const struct export_spec *spec,
	const char *name, size_t length, bool looks);

/* One reference less. Any thread; no request of the caller's may be in flight. */
void export_folder_close(struct export *export);

/* Calls @each with every open export, while none is closed. */
void export_folder_for_each(
	struct export_folder *folder, void (*each)(void *context, struct export *export), void *context);
