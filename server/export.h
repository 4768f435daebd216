/* server/export.h -- the disks that clients may choose from, by name.
 *
 * Set up before the first worker starts and constant from then on, but for the disks' sizes: every thread may read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/disk.h"
#include "server/export_spec.h"

struct export
{
	struct export *next; /* owned by struct exports */
	struct export_spec spec;
	struct disk *disk;  /* owned; shared by all workers */
	uint64_t size_told; /* bytes, as the log knows */
};

struct exports {
	struct export *first, **last;
};

void exports_init(struct exports *exports);
/* No session may be left. */
void exports_fini(struct exports *exports);

/* exports_add() - open what @spec describes; takes it over, whatever happens, and leaves it empty.
 * Returns 0 and says in the log what is exported; or -errno with the reason in @why: "export 'NAME': ...". */
int exports_add(struct exports *exports, struct export_spec *spec, char *why, size_t why_size);

/* exports_measure() - look for exports that have grown or shrunk, and tell the log. For the main thread. */
void exports_measure(struct exports *exports);

/* The export of that name, or NULL. @name: @length bytes of a client, or of anyone. */
const struct export *exports_find(const struct exports *exports, const char *name, size_t length);

/* The transmission flags of @export: proto.md, "Transmission flags".
 * @structured: the client has negotiated structured replies. */
uint16_t export_flags(const struct export *export, bool structured);
