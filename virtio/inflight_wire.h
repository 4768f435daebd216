/* virtio/inflight_wire.h -- the record of the requests in flight, in memory that the VMM keeps while we are dead: a
 * region for each virtqueue, one behind the other, each beginning at a multiple of INFLIGHT_ALIGNMENT. Native byte
 * order. Spec: QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking". */
#pragma once

#include <assert.h>
#include <stdint.h>

/* The specification is silent about it; every known back-end does it. */
#define INFLIGHT_ALIGNMENT 64u

#define INFLIGHT_VERSION 1u /* 0: nothing is there yet */

struct inflight_split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next; /* of the last batch given back */
	uint64_t counter;
};
static_assert(sizeof(struct inflight_split_desc) == 16, "DescStateSplit");

struct inflight_split {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_split_desc desc[];
};
static_assert(sizeof(struct inflight_split) == 16, "QueueRegionSplit");

/* Those of a chain are linked by next; inflight, last, num and counter are those of its first. */
struct inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
static_assert(sizeof(struct inflight_packed_desc) == 32, "DescStatePacked");

/* Four fields of the region, and all of them in one store. */
union inflight_packed_used {
	struct {
		uint16_t idx;
		uint16_t old_idx;
		uint8_t wrap_counter;
		uint8_t old_wrap_counter;
		uint8_t padding[2];
	};
	uint64_t together;
};
static_assert(sizeof(union inflight_packed_used) == 8, "used_idx to old_used_wrap_counter");

struct inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	union inflight_packed_used used;
	uint8_t padding[8];
	struct inflight_packed_desc desc[];
};
static_assert(sizeof(struct inflight_packed) == 32, "QueueRegionPacked");
