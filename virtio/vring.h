/* virtio/vring.h -- one virtqueue in guest memory, seen from the device: one face, whatever the layout.
 *
 * The device takes chains that the driver has made available, gives each back when it is done, in any order (a driver that
 * has negotiated VIRTIO_F_IN_ORDER sees them in the order it made them available), and publishes what it gave back all at once. A ring belongs to one thread. Its memory is hostile: what the driver wrote is
 * copied once, checked, and the copy is used. A driver that breaks the rules of the ring itself breaks it: nothing more
 * is taken; a bad buffer in a sound ring only spoils its own chain.
 *
 * Spec: virtio, "Virtqueues", "Split Virtqueues", "Packed Virtqueues".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio/dirty_log.h"
#include "virtio/guest_memory.h"
#include "virtio/vring_order.h"

#define VRING_SIZE_MAX 1024u

/* Descriptors in one chain, an indirect table's among them; a longer one is taken for a loop. */
#define VRING_CHAIN_MAX 1024u

/* Where a packed ring begins: place 0 of the lap whose wrap counter is 1. */
#define VRING_PACKED_START 0x8000u

/* Foreign numbers: as the VMM tells them. */
struct vring_setup {
	uint64_t features; /* negotiated */
	uint32_t size;
	uint64_t desc, avail, used; /* user addresses; of a packed ring: ring, driver's and device's events */
	/* Where to go on. Split: the available index of the next chain to take. Packed: place and wrap counter of the
	 * next descriptor to take, 15 + 1 bits, then those of the next one to use, where 0 is: the same. Of a new packed ring
	 * all of it may be 0. */
	uint32_t base;
	/* Where chains in flight are written down, for who goes on here when we have died; NULL: nowhere. It has to stay
	 * there until the ring is forgotten. What it says of an earlier life counts, and base does not then. */
	void *record;
	uint64_t record_bytes;
};

enum vring_chain_fault {
	VRING_CHAIN_SOUND,
	VRING_CHAIN_UNMAPPED, /* a buffer is not in guest memory */
	VRING_CHAIN_TOO_LONG, /* more pieces than iov_max */
};

/* A chain of buffers: the readable ones first, then the writable ones. */
struct vring_chain {
	/* The taker's: borrowed until it has looked at the result. */
	struct iovec *iov;
	unsigned iov_max;

	uint16_t id;		      /* names it to vring_give() */
	enum vring_chain_fault fault; /* if any, iov and counts are incomplete */
	unsigned readable, writable;  /* entries of iov: iov[0 .. readable), then the writable ones */
	uint64_t readable_bytes, writable_bytes;
	uint8_t *last_writable; /* the last writable byte, also of a faulty chain; NULL where there is none */
};

enum vring_taken { VRING_EMPTY, VRING_TAKEN, VRING_BROKEN };

struct vring;

struct vring_layout {
	bool (*map)(
		struct vring *ring, const struct guest_memory *memory); /* changes nothing where it fails */
	bool (*begin)(struct vring *ring);
	void (*log_all)(const struct vring *ring);
	enum vring_taken (*take)(struct vring *ring, struct vring_chain *chain);
	void (*give)(struct vring *ring, uint16_t id, uint32_t written);
	bool (*publish)(struct vring *ring);
	void (*quiet)(struct vring *ring);
	bool (*listen)(struct vring *ring);
	uint32_t (*base)(const struct vring *ring);
};

struct vring_split {
	struct vring_split_desc *desc; /* these three are in guest memory */
	struct vring_split_avail *avail;
	struct vring_split_used *used;
	uint16_t next_avail;	 /* the next to take */
	uint16_t avail_seen;	 /* the driver's index when we last looked */
	uint16_t used_given;	 /* where the next one given back goes */
	uint16_t used_published; /* what the driver knows */
};

/* What is taken under one id. */
struct vring_packed_chain {
	uint16_t count;	      /* descriptors; 0: nothing is taken */
	uint16_t first, last; /* entries of the record, where there is one */
};

struct vring_packed {
	struct vring_packed_desc *desc; /* these three are in guest memory */
	const struct vring_packed_event *driver_event;
	struct vring_packed_event *device_event;
	uint64_t desc_address; /* guest address of desc */
	uint16_t next_avail;   /* the next to take */
	uint16_t next_used;    /* where the next one given back goes */
	bool avail_wrap, used_wrap;
	uint16_t taken; /* descriptors from next_used to next_avail */
	uint32_t given; /* descriptors given back since the driver was last asked about a call */
	struct vring_packed_chain chain[VRING_SIZE_MAX]; /* by id */
};

/* The record of chains in flight: our own copy of what links its entries, which are as many as the ring's. */
struct vring_record {
	uint64_t counter; /* of the next chain */
	uint64_t used;	  /* packed: as last written */
	uint16_t head;	  /* packed: of the free entries; split: of the last batch given back */
	uint16_t batch;	  /* split: given back, but not published */
	uint16_t noted;	  /* packed: the last entry of the chain that is being read */
	/* Chains of our predecessor, by head or id: to be taken again, in this order. */
	unsigned again_count, again_next;
	uint16_t again[VRING_SIZE_MAX];
	uint16_t next[VRING_SIZE_MAX];
};

/* A chain that is out; done: it waits for those before it. */
struct vring_turn {
	uint16_t id;
	bool done;
	uint32_t written;
};

/* Where chains go back in order: the places first .. end - 1 of turn, modulo its size. */
struct vring_order {
	bool kept; /* else the rest is unused */
	uint16_t first, end;
	struct vring_turn turn[VRING_SIZE_MAX];
	uint16_t place[VRING_SIZE_MAX]; /* by id, of those that are out */
	bool is_out[VRING_SIZE_MAX];	/* by id */
};

struct vring {
	const struct vring_layout *layout;
	struct vring_setup setup;	   /* constant */
	const struct guest_memory *memory; /* borrowed: the snapshot in use, its user keeps it */
	const char *broken;		   /* why; NULL: it is sound */
	struct dirty_log *log;		   /* borrowed: until vring_log(); NULL: nobody wants to know */
	uint64_t log_used;		   /* guest address of the used ring, or of the device's events */
	struct vring_record record;
	struct vring_order order;
	union {
		struct vring_split split;
		struct vring_packed packed;
	};
};

extern const struct vring_layout vring_split_layout, vring_packed_layout;

/* Up to VRING_SIZE_MAX; a split ring's is a power of two. */
bool vring_size_is_valid(uint64_t features, uint32_t size);

/* vring_record_size() - bytes of a record: what a ring of @size needs, and where that of the next ring begins. */
size_t vring_record_size(uint64_t features, uint32_t size);

/* Whether a record tells of an earlier life; of either layout. */
bool vring_record_is_known(const void *record);

/* vring_init() - @memory is borrowed until the ring is forgotten or mapped anew.
 * Returns 0, or -EINVAL with ring->broken set: a size that is not valid, parts out of memory
 * or off their alignment, an index or a record that cannot be. */
int vring_init(struct vring *ring, const struct vring_setup *setup, const struct guest_memory *memory);

/* vring_remap() - go on with another snapshot. Chains taken before stay valid as long as their snapshot does.
 * Returns 0, or -EFAULT, its parts are not in there: it stays with the old snapshot, so that what was taken can still be
 * given back. */
int vring_remap(struct vring *ring, const struct guest_memory *memory);

/* vring_log() - from now on, mark in @log (borrowed until the next call; NULL: nowhere) what of the ring itself we write:
 * from @used on the used ring, or of a packed ring the device's events; a packed ring's descriptors where they are.
 * All of it counts as written now: what is written while nobody logs, or by a predecessor that died before it could mark
 * it, is not lost. Spec: vhost-user, "Migration", VHOST_VRING_F_LOG. */
void vring_log(struct vring *ring, struct dirty_log *log, uint64_t used);

/* vring_has_taken() - whether chains that were taken before we came are to be taken again. */
static inline bool vring_has_taken(const struct vring *ring)
{
	return ring->record.again_next < ring->record.again_count;
}

/* vring_take() - the next chain: those taken before we came in their order, then available ones. VRING_BROKEN: see ring->broken; from then on for ever. */
static inline enum vring_taken vring_take(struct vring *ring, struct vring_chain *chain)
{
	enum vring_taken taken = ring->broken ? VRING_BROKEN : ring->layout->take(ring, chain);

	if (taken == VRING_TAKEN && ring->order.kept && !vring_order_take(ring, chain->id)) {
		ring->broken = "a chain is available twice";
		return VRING_BROKEN;
	}
	return taken;
}

/* vring_give() - give chain @id back: @written bytes from the first writable one on hold what they should.
 * The driver sees it after vring_publish(), that of a packed ring maybe before. */
static inline void vring_give(struct vring *ring, uint16_t id, uint32_t written)
{
	if (ring->order.kept)
		vring_order_give(ring, id, written);
	else
		ring->layout->give(ring, id, written);
}

/* vring_publish() - show the driver all that was given back. Returns whether it wants to be called. */
static inline bool vring_publish(struct vring *ring)
{
	return ring->layout->publish(ring);
}

/* vring_quiet() - ask the driver for no kicks: we look by ourselves. */
static inline void vring_quiet(struct vring *ring)
{
	ring->layout->quiet(ring);
}

/* vring_listen() - ask for a kick at the next chain. Returns whether chains came before it could know: then take those
 * first, it may not kick for them. */
static inline bool vring_listen(struct vring *ring)
{
	return ring->layout->listen(ring);
}

/* vring_base() - what another device would have to be set up with to go on here. */
static inline uint32_t vring_base(const struct vring *ring)
{
	return ring->layout->base(ring);
}
