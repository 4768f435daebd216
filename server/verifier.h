/* server/verifier.h -- the write verifier of an export: names one lifetime of the volatile state under it. It changes exactly
 * when writes that were completed and not flushed may have been lost:
 *
 * - this machine was booted anew (the kernel's boot id is in it);
 * - another file or disk is in the place of the one that was (struct disk_facts, identity, is in it);
 * - a sync has failed (disk_has_lost());
 * - what keeps the bytes ends with the process or the export: memory, a temporary overlay, a volatile cache;
 * - the power of such a cache was cut: verifier_renew().
 *
 * A server that is killed or restarted has lost nothing else, and gives the same number. One gap: the memory of a failed
 * sync ends with the export, so an export that is opened again has the verifier from before.
 */
#pragma once

#include <stdint.h>

#include "cache/disk.h"

struct verifier {
	uint64_t lifetime; /* of what is below, and of all renewals */
};

/* verifier_init() - of an export whose disk has these facts. */
void verifier_init(struct verifier *verifier, const struct disk_facts *facts);

/* verifier_renew() - writes may have been lost just now. */
void verifier_renew(struct verifier *verifier);

/* The verifier, as it is now; @disk is the export's. */
uint64_t verifier_value(const struct verifier *verifier, struct disk *disk);
