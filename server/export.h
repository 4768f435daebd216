/* server/export.h -- the disks that clients may choose from, by name; and folders of such disks.
 *
 * Set up before the first worker starts and constant from then on, but for the disks' sizes and the fault rules: every thread
 * may read.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/disk.h"
#include "server/dialect.h"
#include "server/export_folder.h"
#include "server/export_spec.h"
#include "server/fault.h"
#include "server/verifier.h"

struct export_name {
	const char *bytes; /* borrowed: the export's spec has them */
	size_t length;
};

struct export
{
	struct export *next; /* owned by struct exports, or its folder */
	struct export_spec spec;
	struct export_name name; /* its key among the exports that are no folders */
	struct disk *disk;	 /* owned; shared by all workers; NULL: a folder */
	/* borrowed: the layer of disk that loses writes in a power cut; NULL: there is none */
	struct disk *volatile_disk;
	/* The main thread's. */
	uint64_t size_told; /* bytes, as the log knows */
	struct verifier verifier;
	bool loss_told;		      /* the log and the clients know of a failed sync */
	struct export *next_lost;     /* of those that are about to be told */
	bool down;		      /* it has no power, and takes no clients */
	struct fault_set faults;      /* what its description says, and what is added while it is open */
	struct disk *record;	      /* owned; a layer of disk's; NULL: it has never been recorded */
	struct export_folder *folder; /* owned: the files, each of which is an export */
	struct export_folder *home;   /* borrowed: of a file in a folder, which outlives it; else NULL */
	unsigned users;		      /* shared: under home's lock; references */
	atomic_uint connections;      /* shared: sessions that use it; any thread */
};

struct exports {
	struct export *first, **last; /* owned; in the order of the operator */
	void *names;	      /* owned: a tree of tsearch(3): the names of those that are no folders */
	struct export *sized; /* the next to be looked at while nobody uses it; NULL: the first */
};

void exports_init(struct exports *exports);
/* No session may be left. */
void exports_fini(struct exports *exports);

/* exports_add() - open what @spec describes; takes it over, whatever happens, and leaves it empty.
 * Returns 0 and says in the log what is exported; or -errno with the reason in @why: "export 'NAME': ...". */
int exports_add(struct exports *exports, struct export_spec *spec, char *why, size_t why_size);

/* exports_insert() - add one that is open; takes it over. Returns 0; or -EEXIST where one has its name, or -ENOMEM: then it is
 * still the caller's. */
int exports_insert(struct exports *exports, struct export *export);

/* exports_measure() - look for exports that have grown or shrunk, and tell the log; of those that nobody uses, at MEASURE_IDLE_MAX a
 * call, one after the other. And look for those that have lost writes, of which each is told @lost once, as a reference that it
 * has to put. For the main thread. */
void exports_measure(
	struct exports *exports, void (*lost)(void *context, struct export *export), void *context);

/* The write verifier, as it is now. For the main thread. */
uint64_t export_verifier(const struct export *export);

/* The export of that name, or the first folder that has it, or NULL. @name: @length bytes of a client, or of anyone.
 * Opens nothing: first comes the question whether its spec allows the client to see it. */
struct export *exports_find(const struct exports *exports, const char *name, size_t length);

/* export_get() - what exports_find() found under @name, as an export with a disk: one reference more. For the main thread.
 * @looks: for its facts alone, until export_put(); a folder's file is opened for reading.
 * Returns NULL where a folder's file cannot be opened; the log tells why. */
struct export *export_get(struct export *export, const char *name, size_t length, bool looks);
/* Any thread, when no request is in flight; NULL is allowed. A folder's file is closed behind its last reference. */
void export_put(struct export *export);

/* export_inject() - add the fault rules of its description. Returns 0, or -errno with the reason in @why. */
int export_inject(struct export *export, const struct export_spec *spec, char *why, size_t why_size);

/* The transmission flags of @export for a client that speaks @dialect: proto.md, "Transmission flags". */
uint16_t export_flags(const struct export *export, struct dialect dialect);
