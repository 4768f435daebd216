/* client/offer.h -- what a server offers for an export, read after each handshake.
 *
 * The first offer becomes the guest's disk and so a promise; every later connection must keep it.
 */
#pragma once

#include <libnbd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/disk.h"

/* Where a server names no maximum: what every server has to take. Spec: proto.md, "Block size constraints". */
#define OFFER_DATA_MAX_DEFAULT (32u << 20)

struct offer {
	struct disk_facts facts;
	/* Of this connection: longest payload of one command, and whether the server itself has FUA. facts.can_fua is
	 * also true where a flush after each such command takes its place. */
	uint32_t command_data_max;
	bool native_fua;
};

/* Room for the longest reason below. */
#define OFFER_WHY_SIZE 256

/* offer_read() - @nbd: a handle whose handshake is done.
 * Returns 0; or -1 with the reason in @why: a block size that the specification forbids or that no guest can use. */
int offer_read(struct nbd_handle *nbd, struct offer *out, char why[OFFER_WHY_SIZE]);

/* offer_keeps() - whether a disk that was promised with @promised can live on with @offered.
 * Returns 0; or -1 with the reason in @why: smaller, become read-only, a coarser block grid, an ability gone.
 * More than was promised is welcome and stays unused. */
int offer_keeps(
	const struct disk_facts *promised, const struct disk_facts *offered, char why[OFFER_WHY_SIZE]);

/* offer_text() - @facts for an operator: "10.0 GiB, block size 512..4096, flush, fua". Returns @out. */
const char *offer_text(const struct offer *offer, char *out, size_t out_size);
